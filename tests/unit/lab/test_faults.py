"""What the bridge drops for a cut node."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from appstack_lab import faults, paths
from appstack_lab.cluster import Cluster, build_nodes
from appstack_lab.faults import build_rules

if TYPE_CHECKING:
    from pathlib import Path

IN, OUT = 'oifname "node2" drop', 'iifname "node2" drop'


@pytest.mark.parametrize(
    ("direction", "dropped", "passed"),
    [
        pytest.param("both", [IN, OUT], [], id="cut off"),
        pytest.param("in", [IN], [OUT], id="deaf"),
        pytest.param("out", [OUT], [IN], id="mute"),
    ],
)
def test_a_cut_drops_its_direction_and_no_other(direction: str, dropped: list[str], passed: list[str]) -> None:
    rules = build_rules({"node2": direction})
    assert all(rule in rules for rule in dropped)
    assert not any(rule in rules for rule in passed)


def test_healing_the_last_node_removes_the_table() -> None:
    assert build_rules({}).splitlines()[-1].startswith("delete table")
    assert "drop" not in build_rules({})


def test_a_crash_and_a_restart_say_what_happened_and_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "STATE", tmp_path)
    cluster = Cluster("review", 0, build_nodes(3))
    node = cluster.node("node2")
    # What touches the kernel and the processes; what is remembered and said is real.
    for name in ("move_service_route", "output_of", "order", "wait_for_state", "renew_node_network"):
        monkeypatch.setattr(faults, name, lambda *_, **__: None)
    monkeypatch.setattr(faults, "runs", lambda *_: True)

    def said(act: object) -> str:
        assert callable(act)
        act(cluster, node)
        return capsys.readouterr().err

    assert "node2 is down with all its containers; back: lab node restart node2 --name review" in said(faults.crash)
    assert "node2 was down already; back" in said(faults.crash)
    assert "node2 runs again" in said(faults.restart)
    told = said(faults.restart)
    assert "node2 was taken down, and runs again" in told
    assert "back: " not in told


def test_two_nodes_that_are_cut_off_at_once_are_both_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE", tmp_path)
    cluster = Cluster("review", 0, build_nodes(3))
    monkeypatch.setattr(faults, "move_service_route", lambda *_: None)
    monkeypatch.setattr(faults, "output_of", lambda *_, **__: time.sleep(0.1))  # as long as nft takes
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: faults.partition(cluster, cluster.node(name), "both"), ("node1", "node2")))
    assert faults.current_cuts(cluster) == {"node1": "both", "node2": "both"}
