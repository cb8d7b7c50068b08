"""What a cluster weighs against the other processes of the machine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from appstack_lab import cgroups, paths
from appstack_lab.cgroups import shares_of, weigh
from appstack_lab.cluster import Cluster, build_nodes
from appstack_lab.locks import locked

if TYPE_CHECKING:
    from pathlib import Path


def groups(root: Path, setting: str, start: str) -> Path:
    """A cluster of two nodes beside another cluster; returns its group."""
    for name in ("lab", "lab/a", "lab/a/node1", "lab/a/node2", "lab/b"):
        (root / name).mkdir()
        (root / name / setting).write_text(start)
    return root / "lab" / "a"


@pytest.mark.parametrize(
    ("setting", "start", "node", "cluster", "lab"),
    [("cpu.shares", "1024", 2048, 4096, 5120), ("cpu.weight", "100", 200, 400, 500)],
)
def test_a_node_weighs_its_processors_and_the_groups_above_what_is_in_them(
    tmp_path: Path, setting: str, start: str, node: int, cluster: int, lab: int
) -> None:
    group = groups(tmp_path, setting, start)
    weigh(group, processors=2)
    found = [int((path / setting).read_text()) for path in (group / "node1", group, group.parent)]
    assert found == [node, cluster, lab]


def test_a_hierarchy_that_weighs_nothing_is_left_alone(tmp_path: Path) -> None:
    group = groups(tmp_path, "memory.limit_in_bytes", "1")
    before = contents(tmp_path)
    weigh(group, processors=2)
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_group_of_another_cluster_that_goes_just_now_weighs_nothing(tmp_path: Path) -> None:
    assert shares_of(tmp_path / "gone") == 0
    (tmp_path / "going" / "cpu.shares").mkdir(parents=True)  # to be read no more
    assert shares_of(tmp_path / "going") == 0


def test_groups_are_made_while_no_other_cluster_takes_the_common_one_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [tmp_path])
    cluster = Cluster("new", 0, build_nodes(1))
    making = threading.Thread(target=cgroups.create_cgroups, args=(cluster,))
    with locked(paths.shared_lock("index")):
        making.start()
        making.join(0.3)
        assert not (tmp_path / cluster.cgroup).exists()
    making.join()
    assert (tmp_path / cluster.cgroup / "node1").is_dir()
