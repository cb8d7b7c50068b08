"""What a fault has to have done, and what a killed run left behind."""

from __future__ import annotations

import signal
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.chaos import processes
from tests.chaos.__main__ import why_not
from tests.chaos.faults import (
    are_replaced,
    bring_operator_off,
    bring_operator_to,
    drain,
    drain_replica_first,
    upgrade_operator,
)
from tests.chaos.site import Site, Trouble, Victim, wait_until

if TYPE_CHECKING:
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


def standing(name: str, node: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name}, "spec": {"nodeName": node}, "status": {}}


class Cluster:
    """A stack on three nodes and its operator's pods; whoever of these is deleted gives its Lease to the next."""

    def __init__(self, *nodes: str) -> None:
        self.operators = [standing(f"operator-{number}", node) for number, node in enumerate(nodes)]
        self.holder = "operator-0_a1b2"
        self.said: list[tuple[str, ...]] = []
        self.closed: set[str] = set()
        self.prefers: tuple[str, ...] = ("n3", "n2", "n1")  # where the scheduler would have the next one
        self.replaces = False

    def get(self, kind: str, *_: str) -> dict[str, Any]:
        if kind == "leases":
            spec = {"holderIdentity": self.holder or None}
            return {"items": [{"metadata": {"name": "appstack-operator"}, "spec": spec}]}
        return {"items": self.operators}

    def kubectl(self, *words: str) -> str:
        self.said.append(words)
        if words[0] == "delete":
            led = self.holder.startswith(f"{words[2]}_")
            self.operators = [each for each in self.operators if each["metadata"]["name"] != words[2]]
            if led:
                self.holder = f"{self.operators[0]['metadata']['name']}_c3d4" if self.operators else ""
            if self.replaces:
                node = next(each for each in self.prefers if each not in self.closed)
                self.operators.append(standing(f"operator-{len(self.said)}", node))
        elif words[0] == "cordon":
            self.closed.add(words[1])
        elif words[0] == "uncordon":
            self.closed.remove(words[1])
        return ""

    def pods(self, component: str) -> list[dict[str, Any]]:
        return [standing(f"shop-{component}-{node}", node) for node in ("n3", "n1")]

    def site(self) -> Site:
        nodes = [SimpleNamespace(name=name) for name in sorted(self.prefers)]
        found = Site(cast("Any", SimpleNamespace(nodes=nodes)), cast("Any", None), "shop")
        for name, told in {
            "get": self.get,
            "kubectl": self.kubectl,
            "pods": self.pods,
            "leader": lambda service: Victim("", f"of {service}", "", (), ""),
        }.items():
            object.__setattr__(found, name, told)
        return found


@pytest.mark.parametrize(("nodes", "deleted"), [(("n1", "n2"), 1), (("n2", "n1"), 0), (("n1", "n1", "n3"), 2)])
def test_the_operator_that_leads_is_brought_off_the_node_that_will_be_lost(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[str, ...], deleted: int
) -> None:
    monkeypatch.setattr("tests.chaos.faults.time.sleep", lambda _: None)
    cluster = Cluster(*nodes)
    bring_operator_off(cluster.site(), "n1")
    leader = cluster.site().leading_operator()
    assert leader is not None
    assert leader.node != "n1"
    assert [words[0] for words in cluster.said] == ["delete"] * deleted + ["rollout"]


@pytest.mark.parametrize(
    ("nodes", "prefers"),
    [
        pytest.param(("n1", "n2"), ("n3", "n2", "n1"), id="as it is to be"),
        pytest.param(("n2", "n1"), ("n3", "n2", "n1"), id="the other one leads"),
        pytest.param(("n2", "n3"), ("n3", "n2", "n1"), id="none is on the node"),
        pytest.param(("n1", "n1"), ("n1", "n2", "n3"), id="both are"),
        pytest.param(("n2", "n2"), ("n2", "n1", "n3"), id="both are on another one"),
    ],
)
def test_the_operator_that_leads_is_brought_to_the_node_that_will_be_lost_and_another_one_waits_elsewhere(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[str, ...], prefers: tuple[str, ...]
) -> None:
    """Whoever lost both would measure an operator that is absent, which is a row of its own."""
    monkeypatch.setattr("tests.chaos.faults.time.sleep", lambda _: None)
    cluster = Cluster(*nodes)
    cluster.prefers, cluster.replaces = prefers, True
    bring_operator_to(cluster.site(), "n1")
    leader = cluster.site().leading_operator()
    assert leader is not None
    assert leader.node == "n1"
    assert [pod["spec"]["nodeName"] for pod in cluster.operators if pod["metadata"]["name"] != leader.pod] != ["n1"]
    assert cluster.closed == set(), "nodes are open again"


def test_one_operator_alone_cannot_be_lost_with_another_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.faults.time.sleep", lambda _: None)
    with pytest.raises(Trouble, match="of 1 operators"):
        bring_operator_to(Cluster("n1").site(), "n1")


@pytest.mark.parametrize(("holder", "node"), [("operator-1_a1b2", "n2"), ("", ""), ("laptop_a1b2", "")])
def test_where_things_were_as_the_fault_struck_is_told(holder: str, node: str) -> None:
    cluster = Cluster("n1", "n2")
    cluster.holder = holder
    assert cluster.site().places(Victim("shop-postgres-0", "n1", "", (), "")) == {
        "victim": "n1",
        "api": ["n1", "n3"],
        "operator": node,
        "postgres": "of postgres",
        "redis": "of redis",
        "rabbitmq": "of rabbitmq",
    }


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


def test_a_disk_without_a_limit_is_not_filled_and_the_way_out_is_told() -> None:
    def site(volume_size: str) -> Any:
        return cast("Any", SimpleNamespace(cluster=SimpleNamespace(name="x", volume_size=volume_size)))

    refusal = why_not(["node-cut", "disk-full"], site(""))
    assert "disk-full fills a disk, and the volumes of cluster x have no limit" in refusal
    assert "--volume-size 6Gi" in refusal
    assert why_not(["node-cut", "disk-full"], site("6Gi")) == why_not(["node-cut"], site("")) == ""
