"""Locks hold, also while their files are removed by those who hold them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from appstack_lab import create, main, paths
from appstack_lab.cluster import build_nodes
from appstack_lab.failures import LabError
from appstack_lab.locks import discard, locked

if TYPE_CHECKING:
    from pathlib import Path

# Takes the lock again and again, alone each time if it holds, and removes its file before it lets go.
WORKER = """
import os, sys
from pathlib import Path
from appstack_lab.locks import locked
lock, mark = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(300):
    with locked(lock):
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        mark.unlink()
        lock.unlink()
"""


def test_two_never_hold_a_lock_whose_file_comes_and_goes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "locks" / "a.lock"), str(tmp_path / "mark")]
    workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [worker.wait(240) for worker in workers] == [0, 0, 0, 0]
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_lock_that_somebody_holds_is_not_discarded(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with locked(lock):
        discard(lock)
        assert lock.exists()
    discard(lock)
    assert not lock.exists()
    discard(lock)


def test_deleting_a_cluster_leaves_no_lock_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "LOCKS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for lock in (paths.lock_of("shop.load"), paths.shared_lock("index"), paths.shared_lock("kubeconfig")):
        with locked(lock):
            pass
    assert main.main(["delete", "cluster", "--name", "shop", "--kubeconfig", str(tmp_path / "kubeconfig")]) == 0
    assert not paths.LOCKS.exists()


@pytest.mark.parametrize(
    "words", ["delete cluster", "create cluster", "get kubeconfig", "status", "logs", "load docker-image x"]
)
def test_a_name_that_leads_elsewhere_is_refused_by_every_command(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("STATE", "LOCKS"):
        monkeypatch.setattr(paths, name, tmp_path / "one" / name)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main.main([*words.split(), "--name", "a/../../x"]) == 1
    assert "'a/../../x' cannot name a cluster" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)  # waiting for itself never ends
@pytest.mark.parametrize("name", ["index", "kubeconfig", "all", "all-index"])
def test_a_cluster_may_be_called_like_a_lock(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("STATE", "LOCKS"):
        monkeypatch.setattr(paths, place, tmp_path / place)
    for work in ("ensure_packages", "build_binaries", "build_cluster_images"):
        monkeypatch.setattr(create, work, lambda *_: None)

    def all_are_taken() -> int:
        raise LabError("no address range is left")

    monkeypatch.setattr(create, "free_index", all_are_taken)
    with pytest.raises(LabError, match="no address range is left"):
        create.create_cluster(name, build_nodes(1), None, 1.0)
