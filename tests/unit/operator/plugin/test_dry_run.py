"""The patch that kubectl apply would send."""

from __future__ import annotations

from appstack_operator.plugin.dry_run import last_applied, merge_patch


def test_what_only_the_former_file_had_is_taken_away() -> None:
    former = {"spec": {"a": 1, "b": {"c": 1, "d": 1}}, "metadata": {"labels": {"x": "1"}}}
    manifest = {"spec": {"b": {"c": 2}}, "metadata": {}}
    assert merge_patch(manifest, former) == {
        "spec": {"a": None, "b": {"c": 2, "d": None}},
        "metadata": {"labels": None},
    }


def test_lists_are_sent_as_a_whole() -> None:
    assert merge_patch({"spec": {"a": [1]}}, {"spec": {"a": [1, 2]}}) == {"spec": {"a": [1]}}


def test_a_damaged_note_of_kubectl_counts_as_none() -> None:
    key = "kubectl.kubernetes.io/last-applied-configuration"
    assert last_applied({"metadata": {"annotations": {key: "{"}}}) == {}
    assert last_applied({"metadata": {}}) == {}
