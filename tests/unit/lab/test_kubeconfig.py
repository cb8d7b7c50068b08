"""A person's kubeconfig gains our entries and keeps its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from appstack_lab import create, kubeconfigs, paths
from appstack_lab.config.kubeconfig import build_kubeconfig, merge_kubeconfig, remove_from_kubeconfig
from appstack_lab.locks import locked
from appstack_lab.main import main

if TYPE_CHECKING:
    from pathlib import Path


def a_kubeconfig(name: str, server: str = "https://one:6443") -> dict[str, Any]:
    return build_kubeconfig(name, server, b"authority", b"certificate", b"key")


def names(config: dict[str, Any], key: str) -> list[str]:
    return [entry["name"] for entry in config[key]]


def test_the_context_becomes_current_and_the_others_stay() -> None:
    merged = merge_kubeconfig(a_kubeconfig("work"), a_kubeconfig("kind-shop"))
    assert names(merged, "contexts") == ["work", "kind-shop"]
    assert merged["current-context"] == "kind-shop"


def test_a_new_cluster_of_the_same_name_takes_the_place_of_the_old() -> None:
    merged = merge_kubeconfig(a_kubeconfig("kind-shop"), a_kubeconfig("kind-shop", "https://two:6443"))
    assert [entry["cluster"]["server"] for entry in merged["clusters"]] == ["https://two:6443"]


def test_an_empty_file_is_filled() -> None:
    assert names(merge_kubeconfig(None, a_kubeconfig("kind-shop")), "users") == ["kind-shop"]


def test_removing_leaves_the_others_and_no_dangling_context() -> None:
    merged = merge_kubeconfig(a_kubeconfig("work"), a_kubeconfig("kind-shop"))
    left = remove_from_kubeconfig(merged, "kind-shop")
    assert names(left, "clusters") == names(left, "users") == names(left, "contexts") == ["work"]
    assert left["current-context"] == ""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\xff\xfe\x00", "is not YAML"),
        (b"a: b: c", "is not YAML"),
        (b"just words", "is no kubeconfig"),
        (b"contexts: none", "is no kubeconfig"),
        (b"clusters: [one, two]", "is no kubeconfig"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_refused_in_a_sentence_and_left_as_it_is(
    content: bytes | None,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(paths, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(create, "create_cluster", lambda *_: pytest.fail("a cluster was made"))
    file = tmp_path / "file"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    for command in ("create", "delete"):
        assert main([command, "cluster", "--name", "no-such", "--kubeconfig", str(file)]) == 1
        said = capsys.readouterr().err
        assert complaint in said
        assert "give another with --kubeconfig" in said
    assert content is None or file.read_bytes() == content


def test_an_entry_is_taken_out_only_when_nobody_else_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "LOCKS", tmp_path / "locks")
    file = tmp_path / "config"
    kubeconfigs.write(file, a_kubeconfig("kind-old"))
    taking_out = threading.Thread(target=kubeconfigs.forget, args=("old", file))
    with locked(paths.shared_lock("kubeconfig")):  # `export` of a new cluster has read the file
        taking_out.start()
        taking_out.join(0.3)
        kubeconfigs.write(file, merge_kubeconfig(a_kubeconfig("kind-old"), a_kubeconfig("kind-new")))
    taking_out.join()
    assert names(kubeconfigs.read(file) or {}, "contexts") == ["kind-new"]


def test_a_place_where_none_can_be_written_is_refused_before_a_cluster_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(create, "create_cluster", lambda *_: pytest.fail("a cluster was made"))
    assert main(["create", "cluster", "--name", "no-such", "--kubeconfig", "/proc/no-such/config"]) == 1
    said = capsys.readouterr().err
    assert "the kubeconfig /proc/no-such/config cannot be written: No such file or directory" in said
    assert "give another with --kubeconfig" in said


def test_a_link_stays_a_link_and_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """As root, a file in the place of /dev/null would break the machine; here a link stands for it."""
    real, link, nothing = tmp_path / "real" / "config", tmp_path / "config", tmp_path / "null"
    link.symlink_to(real)
    nothing.symlink_to("/dev/null")
    kubeconfigs.require_place(link)
    for path in (link, nothing):
        kubeconfigs.write(path, a_kubeconfig("kind-shop"))
        assert path.is_symlink()
    assert names(kubeconfigs.read(real) or {}, "contexts") == ["kind-shop"]
    assert real.stat().st_mode & 0o077 == 0
    assert list(real.parent.iterdir()) == [real], "and nothing half-written is left"
    assert nothing.read_text() == ""
