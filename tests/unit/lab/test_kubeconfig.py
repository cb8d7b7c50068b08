"""A person's kubeconfig gains our entries and keeps its own."""

from __future__ import annotations

from appstack_lab.config.kubeconfig import build_kubeconfig, merge_kubeconfig, remove_from_kubeconfig


def a_kubeconfig(name: str, server: str = "https://one:6443"):
    return build_kubeconfig(name, server, b"authority", b"certificate", b"key")


def names(config, key: str) -> list[str]:
    return [entry["name"] for entry in config[key]]


def test_the_context_becomes_current_and_the_others_stay():
    merged = merge_kubeconfig(a_kubeconfig("work"), a_kubeconfig("kind-shop"))
    assert names(merged, "contexts") == ["work", "kind-shop"]
    assert merged["current-context"] == "kind-shop"


def test_a_new_cluster_of_the_same_name_takes_the_place_of_the_old():
    merged = merge_kubeconfig(a_kubeconfig("kind-shop"), a_kubeconfig("kind-shop", "https://two:6443"))
    assert [entry["cluster"]["server"] for entry in merged["clusters"]] == ["https://two:6443"]


def test_an_empty_file_is_filled():
    assert names(merge_kubeconfig(None, a_kubeconfig("kind-shop")), "users") == ["kind-shop"]


def test_removing_leaves_the_others_and_no_dangling_context():
    merged = merge_kubeconfig(a_kubeconfig("work"), a_kubeconfig("kind-shop"))
    left = remove_from_kubeconfig(merged, "kind-shop")
    assert names(left, "clusters") == names(left, "users") == names(left, "contexts") == ["work"]
    assert left["current-context"] == ""
