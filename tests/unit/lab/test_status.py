"""The status says well only when all is, and shows which lines of a log spell trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_lab.status import is_well, render, trouble_in

if TYPE_CHECKING:
    from pathlib import Path


def a_status(**changes: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "complete": True,
        "ready": True,
        "api": "https://172.30.0.1:6443",
        "version": "v1.36.4",
        "services": "10.65.0.0/16",
        "services_through": "node1",
        "dns": "10.65.0.10",
        "logs": "/logs",
        "nodes": [{"name": "node1", "ready": True, "fault": "", "address": "172.30.0.11", "pods": "10.64.1.0/24"}],
        "processes": [{"name": "etcd", "state": "running", "restarts": 0, "last_exit": ""}],
        "trouble": {"etcd": ["E1124 disk slow"]},
    } | changes


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ready": False}, id="the API server does not answer"),
        pytest.param({"complete": False}, id="the creation was interrupted"),
        pytest.param({"processes": [{"name": "etcd", "state": "waiting"}]}, id="a process is down"),
        pytest.param({"nodes": [{"name": "node1", "ready": False, "fault": ""}]}, id="a node is not Ready"),
        pytest.param({"nodes": [{"name": "node1", "ready": True, "fault": "cut off (in)"}]}, id="a node is cut off"),
    ],
)
def test_one_thing_wrong_is_not_well(change: dict[str, Any]) -> None:
    assert is_well(a_status())
    assert not is_well(a_status(**change))


def test_old_errors_do_not_frighten_when_all_is_well() -> None:
    assert "disk slow" not in render(a_status())
    assert "disk slow" in render(a_status(ready=False))


def test_what_is_wrong_comes_with_the_way_back() -> None:
    node = {"name": "node1", "ready": False, "address": "172.30.0.11", "pods": "10.64.1.0/24"}
    cut, crashed = ({**node, "fault": fault} for fault in ("cut off (in)", "crashed"))
    assert "cut off (in); back: lab node heal node1 --name shop" in render(a_status(nodes=[cut]))
    assert "crashed; back: lab node restart node1 --name shop" in render(a_status(nodes=[crashed]))
    assert "back:" not in render(a_status())
    dead = "cluster shop does not run: lab create cluster --name shop makes it anew"
    assert dead in render(a_status(ready=False, processes=[]))
    assert dead not in render(a_status(ready=False))


def test_trouble_is_what_was_logged_after_the_start(tmp_path: Path) -> None:
    log = tmp_path / "kubelet.log"
    log.write_text("E1124 08:00:00 starting up\nI1124 08:00:01 fine\n")
    start = log.stat().st_size
    assert trouble_in(log, start) == []
    with log.open("a") as handle:
        handle.write("I1124 08:00:02 fine\nE1124 08:00:03 broken\npanic: really\n")
    assert trouble_in(log, start) == ["E1124 08:00:03 broken", "panic: really"]
