"""Removing what a cluster leaves on the disk, while others still write and remove there."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from appstack_lab import paths, sysctls, teardown
from appstack_lab.cluster import Cluster, build_nodes
from appstack_lab.locks import locked
from appstack_lab.state import known_clusters, remember
from appstack_lab.teardown import remove_cluster, remove_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The only cluster of a machine: its state alone, no processes and no network."""
    for place in ("STATE", "RUN", "LOCKS"):
        monkeypatch.setattr(paths, place, tmp_path / place)
    monkeypatch.setattr(teardown, "clear_away", lambda _: None)
    monkeypatch.setattr(teardown, "NODE_DIRECTORIES", {})
    cluster = Cluster("last", 0, build_nodes(1))
    remember(cluster)
    return cluster


def test_a_cluster_begun_while_the_last_one_goes_keeps_its_state(
    last: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create() -> None:
        with locked(paths.shared_lock("index")):
            remember(Cluster("new", 1, build_nodes(1)))

    creation = threading.Thread(target=create)

    def meanwhile() -> None:  # after the deletion saw that nobody is left
        creation.start()
        creation.join(0.5)

    monkeypatch.setattr(teardown, "restore_limits", meanwhile)
    remove_cluster(last)
    creation.join()
    assert [cluster.name for cluster in known_clusters()] == ["new"]


def test_the_last_cluster_takes_the_common_directories_along(last: Cluster) -> None:
    paths.RUN.mkdir()
    remove_cluster(last)
    assert not paths.STATE.exists() and not paths.RUN.exists()


def test_the_last_cluster_puts_the_settings_of_the_machine_back(
    last: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctls, "SETTINGS", tmp_path / "proc")
    names = (*sysctls.MINIMUM, *sysctls.KUBELET)
    settings = {name: tmp_path / "proc" / name for name in names}
    for setting in settings.values():
        setting.parent.mkdir(parents=True, exist_ok=True)
        setting.write_text("1")
    sysctls.raise_limits()
    assert {name: int(settings[name].read_text()) for name in sysctls.MINIMUM} == sysctls.MINIMUM
    for name in sysctls.KUBELET:
        settings[name].write_text("10")
    other = Cluster("other", 1, build_nodes(1))
    remember(other)
    sysctls.raise_limits()
    remove_cluster(other)
    assert "1" not in [setting.read_text() for setting in settings.values()]
    remove_cluster(last)
    assert {setting.read_text() for setting in settings.values()} == {"1"}


@pytest.mark.usefixtures("last")
def test_of_two_first_clusters_the_second_remembers_nothing_while_the_first_raises_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctls, "SETTINGS", tmp_path / "proc")
    second = threading.Thread(target=sysctls.raise_limits)
    with locked(paths.shared_lock("index")):
        second.start()
        second.join(0.3)
        assert not sysctls.remembered().exists()
    second.join()
    assert sysctls.remembered().exists()


def test_a_cluster_deleted_while_others_are_listed_is_not_listed(
    last: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(Cluster("other", 1, build_nodes(1)))
    read = Cluster.from_dict

    def delete_the_other(data: dict[str, Any]) -> Cluster:
        remove_tree(paths.STATE / "other")
        return read(data)

    monkeypatch.setattr(Cluster, "from_dict", staticmethod(delete_the_other))
    assert known_clusters() == [last]


def fill(directory: Path, files: int) -> None:
    directory.mkdir(parents=True)
    for number in range(files):
        (directory / str(number)).touch()


def test_files_that_vanish_meanwhile_do_not_stop_the_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "node" / "logs", 3)
    unlink = os.unlink

    def vanished(path: str, **more: int) -> None:
        unlink(path, **more)
        monkeypatch.setattr(os, "unlink", unlink)
        unlink(path, **more)  # as if somebody had been quicker

    monkeypatch.setattr(os, "unlink", vanished)
    remove_tree(tmp_path / "node")
    assert not (tmp_path / "node").exists()


def test_a_writer_that_ends_while_we_remove_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "node" / "logs", 2000)
    started = threading.Event()

    def write() -> None:
        for number in range(300):
            started.set()
            try:
                (tmp_path / "node" / "logs" / f"late-{number}").touch()
            except FileNotFoundError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    remove_tree(tmp_path / "node")
    writer.join()
    assert not (tmp_path / "node").exists()


def test_a_directory_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "file")
