"""What a fault has to have done, and what a killed run left behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.chaos import processes
from tests.chaos.__main__ import why_not
from tests.chaos.faults import (
    are_others,
    are_replaced,
    drain,
    drain_replica_first,
    resize_postgres,
    upgrade_operator,
)
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.site import Trouble, Victim, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pod(uid: str, image: str, component: str = "redis", *, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"uid": uid, "labels": {"appstack.dev/component": component}},
        "spec": {"containers": [{"image": image}, {"image": "other"}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


BEFORE = [pod("a", "r:1"), pod("b", "r:1"), pod("s", "r:1", "redis-sentinel")]
NEW = [pod("c", "r:2"), pod("d", "r:2"), pod("t", "r:2", "redis-sentinel")]


@pytest.mark.parametrize(("now", "replaced"), [
    pytest.param(NEW, True, id="all are new"),
    pytest.param([*NEW[1:], NEW[2]], True, id="fewer workers are needed now"),
    pytest.param(BEFORE, False, id="nothing has happened"),
    pytest.param([*NEW[:2], BEFORE[2]], False, id="one is still the old one"),
    pytest.param(NEW[:2], False, id="a component is away"),
    pytest.param([pod("c", "r:1"), *NEW[1:]], True, id="another pod of the old image is none of ours"),
    pytest.param([pod("c", "r:1"), pod("d", "r:1"), pod("t", "r:1", "redis-sentinel")], False, id="only restarted"),
    pytest.param([pod("c", "r:2", ready=False), *NEW[1:]], False, id="one is not Ready"),
])  # fmt: skip
def test_an_upgrade_is_done_when_every_pod_is_another_one_of_the_new_image(
    now: list[dict[str, Any]], replaced: bool
) -> None:
    assert are_replaced(BEFORE, now, "r:2") is replaced


@pytest.mark.parametrize(("strike", "nodes"), [(drain, ["a"]), (drain_replica_first, ["b", "a"])])
@pytest.mark.parametrize("ends_well", [True, False])
def test_nodes_are_drained_one_after_the_other_and_open_again_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strike: Any, nodes: list[str], ends_well: bool
) -> None:
    done, program = tmp_path / "done", tmp_path / "kubectl"
    program.write_text(
        f'#!/bin/sh\necho "$2 $3" >> {done}\n[ "$2 $3" != "drain {nodes[0]}" ] || {str(ends_well).lower()}\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr("appstack_lab.binaries.program", lambda _: program)
    pods = [
        {"metadata": {"name": f"shop-postgres-{number}"}, "spec": {"nodeName": node}}
        for number, node in enumerate("ab")
    ]
    opened: list[tuple[str, ...]] = []
    site = SimpleNamespace(kubeconfig="k", pods=lambda _: pods, kubectl=lambda *words: opened.append(words))
    mend = strike(site, Victim("shop-postgres-0", "a", "", (), ""))
    if ends_well:
        mend()
        assert done.read_text().split("\n")[:-1] == ["drain b", "uncordon b", "drain a"][-2 * len(nodes) + 1 :]
    else:
        with pytest.raises(Trouble, match="ended with 1"):
            mend()
        assert done.read_text() == f"drain {nodes[0]}\n"
    assert opened == [("uncordon", node) for node in nodes]


@pytest.mark.parametrize(
    ("now", "is_done"),
    [
        pytest.param([pod("c", "p"), pod("d", "p")], True, id="all"),
        pytest.param([pod("c", "p"), pod("b", "p")], False, id="one is of before"),
        pytest.param([pod("c", "p")], False, id="one is missing"),
        pytest.param([pod("c", "p"), pod("d", "p", ready=False)], False, id="one is not ready"),
    ],
)
def test_pods_are_others_when_each_is_and_all_are_ready(now: list[dict[str, Any]], is_done: bool) -> None:
    assert are_others([pod("a", "p"), pod("b", "p")], now) is is_done


@pytest.mark.parametrize(("now", "then"), [("100m", "110m"), ("110m", "120m"), ("120m", "110m"), (None, "110m")])
def test_postgresql_asks_for_another_part_of_a_processor_each_time(now: str | None, then: str) -> None:
    def asking(uid: str, cpu: str | None) -> dict[str, Any]:
        found = pod(uid, "p")
        found["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu} if cpu else {}, "limits": {}}
        return found

    said: list[tuple[str, ...]] = []
    there = [asking("a", now), asking("b", now)]
    site = SimpleNamespace(
        name="shop", namespace="shop", pods=lambda _: list(there), kubectl=lambda *words: said.append(words)
    )
    proof = resize_postgres(cast("Any", site), Victim("", "", "", (), ""))
    assert json.loads(said[0][-1]) == {"spec": {"postgres": {"resources": {"requests": {"cpu": then}}}}}
    there[:] = [asking("c", now), asking("d", now)]
    assert not proof.holds(), "others, of before"
    there[:] = [asking("c", then), asking("d", then)]
    assert proof.holds()


def member(name: str, uid: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid, "ownerReferences": [{"kind": "StatefulSet"}]}}


@pytest.mark.parametrize("replaces", [False, True])
def test_an_upgrade_of_the_operator_replaces_the_operator_alone(replaces: bool) -> None:
    container = {"name": "operator", "image": "o:1"}
    said: list[tuple[str, ...]] = []
    now = {"pods": [pod("a", "o:1", "operator")], "members": [member("shop-redis-0", "r"), member("shop-redis-1", "s")]}

    def get(kind: str, *_: str) -> dict[str, Any]:
        if kind == "deployment":
            return {"spec": {"template": {"spec": {"containers": [container]}}}}
        return {"items": now["pods"]}

    site = SimpleNamespace(
        get=get,
        lasting_pods=lambda: now["members"],
        kubectl=lambda *words: said.append(words),
        cluster=SimpleNamespace(nodes=[]),
    )
    proof = upgrade_operator(cast("Any", site), Victim("", "", "", (), ""))
    assert said[0][:2] == ("set", "image")
    assert said[0][-1] == "operator=o:1-chaos"
    assert not proof.holds()
    now["pods"] = [pod("b", "o:1-chaos", "operator")]
    assert proof.holds()
    if replaces:
        now["members"][1] = member("shop-redis-1", "t")
        with pytest.raises(Trouble, match="replaced for a new operator: shop-redis-1"):
            proof.holds()


def test_processes_that_a_killed_run_left_stopped_are_found_and_go_on() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert processes.stopped([process.pid]) == []
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: processes.stopped([process.pid]), "it is stopped", 10, 0.01)
            processes.thaw(processes.stopped([process.pid]))
            wait_until(lambda: not processes.stopped([process.pid]), "it goes on", 10, 0.01)
        finally:
            process.kill()


@pytest.fixture
def sentinel_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """What runs in a pod of a Sentinel: Debian has three names for its one program; the agent beside it is Python."""
    running = {}
    for name in ("redis-check-rdb", "python3"):
        shutil.copy(str(shutil.which("sleep")), tmp_path / name)
        running[name] = subprocess.Popen([tmp_path / name, "60"])
    wait_until(lambda: all(processes.program_of(each.pid) == name for name, each in running.items()), "all run", 10)
    monkeypatch.setattr(processes, "pids_of", lambda _: [each.pid for each in running.values()])
    yield running
    for each in running.values():
        each.kill()
        each.wait()


def test_a_sentinel_alone_is_stopped_and_the_agent_beside_it_goes_on(
    sentinel_pod: dict[str, subprocess.Popen[bytes]],
) -> None:
    server, agent = sentinel_pod["redis-check-rdb"].pid, sentinel_pod["python3"].pid
    victim = Victim("shop-redis-sentinel-0", "n1", "", ("a", "b"), "")
    mend = SCENARIOS["sentinel-frozen-server"].strike(cast("Any", None), victim)
    wait_until(lambda: processes.state_of(server) == "T", "it is stopped", 10, 0.01)
    assert processes.state_of(agent) != "T"
    mend()
    wait_until(lambda: processes.state_of(server) != "T", "it goes on", 10, 0.01)
    SCENARIOS["sentinel-frozen"].strike(cast("Any", None), victim)
    wait_until(lambda: processes.state_of(agent) == "T", "with the whole pod it is stopped as well", 10, 0.01)


def test_a_disk_without_a_limit_is_not_filled_and_the_way_out_is_told() -> None:
    def site(volume_size: str) -> Any:
        return cast("Any", SimpleNamespace(cluster=SimpleNamespace(name="x", volume_size=volume_size)))

    refusal = why_not(["node-cut", "disk-full"], site(""))
    assert "disk-full fills a disk, and the volumes of cluster x have no limit" in refusal
    assert "--volume-size 6Gi" in refusal
    assert why_not(["node-cut", "disk-full"], site("6Gi")) == why_not(["node-cut"], site("")) == ""
