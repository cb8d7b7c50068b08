"""Where things stand as a fault strikes: as the row says, or nothing is measured; and as before when it is over."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos.placing import (
    SPEC,
    bring_api_to,
    bring_operator_off,
    bring_operator_to,
    bring_queues_to,
    change_spec,
    restore_spec,
)
from tests.chaos.run import led_to_the_struck
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.site import Site, Trouble, Victim
from tests.unit.chaos.made_target import TARGET


def standing(name: str, node: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name}, "spec": {"nodeName": node}, "status": {}}


def running(name: str, node: str) -> dict[str, Any]:
    return standing(name, node) | {"status": {"podIP": f"10.0.{name}"}}


class Cluster:
    """A stack on three nodes and its operator's pods; whoever of these is deleted gives its Lease to the next."""

    def __init__(self, *nodes: str) -> None:
        self.operators = [standing(f"operator-{number}", node) for number, node in enumerate(nodes)]
        self.holder = "operator-0_a1b2"
        self.said: list[tuple[str, ...]] = []
        self.closed: set[str] = set()
        self.prefers: tuple[str, ...] = ("n3", "n2", "n1")  # where the scheduler would have the next one
        self.replaces = False
        self.at_deletion: list[tuple[str, set[str]]] = []  # which pod was deleted, and the nodes that were closed then

    def get(self, kind: str, *_: str) -> dict[str, Any]:
        if kind == "leases":
            spec = {"holderIdentity": self.holder or None}
            return {"items": [{"metadata": {"name": "appstack-operator"}, "spec": spec}]}
        return {"items": self.operators}

    def kubectl(self, *words: str) -> str:
        self.said.append(words)
        if words[0] == "delete":
            self.at_deletion.append((words[2], set(self.closed)))
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
    monkeypatch.setattr("tests.chaos.placing.time.sleep", lambda _: None)
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
    monkeypatch.setattr("tests.chaos.placing.time.sleep", lambda _: None)
    cluster = Cluster(*nodes)
    cluster.prefers, cluster.replaces = prefers, True
    bring_operator_to(cluster.site(), "n1")
    leader = cluster.site().leading_operator()
    assert leader is not None
    assert leader.node == "n1"
    assert [pod["spec"]["nodeName"] for pod in cluster.operators if pod["metadata"]["name"] != leader.pod] != ["n1"]
    assert cluster.closed == set(), "nodes are open again"


@pytest.mark.parametrize(
    ("nodes", "closed"),
    [
        pytest.param(("n1", "n2"), None, id="as it is to be"),
        pytest.param(("n2", "n3"), {"n2", "n3"}, id="none is there"),
        pytest.param(("n1", "n1"), {"n1"}, id="all are there"),
    ],
)
def test_a_pod_of_the_api_is_on_the_node_that_will_be_lost_and_another_one_elsewhere(
    nodes: tuple[str, ...], closed: set[str] | None
) -> None:
    """Where none was, no request failed; and whether one was, had been luck."""
    cluster = Cluster()
    site = cluster.site()
    object.__setattr__(site, "pods", lambda _: [standing(f"api-{n}", node) for n, node in enumerate(nodes)])
    bring_api_to(site, "n1")
    assert cluster.at_deletion == ([] if closed is None else [("api-0", closed)])
    assert cluster.closed == set(), "nodes are open again"


def test_every_queue_is_led_from_the_node_that_will_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.placing.time.sleep", lambda _: None)
    cluster, led = Cluster(), ["shop-rabbitmq-n3"]
    site = cluster.site()

    def kubectl(*words: str) -> str:
        cluster.said.append(words)
        led.append(words[3] if len(cluster.said) > 1 else led[0])  # the first time it is not up to date
        return ""

    object.__setattr__(site, "kubectl", kubectl)
    object.__setattr__(site, "queue_leader", lambda: led[-1])
    bring_queues_to(site, "n1")
    assert [words[3] for words in cluster.said] == ["shop-rabbitmq-n1"] * 2
    assert all("transfer_leadership" in words[-1] for words in cluster.said)
    bring_queues_to(site, "n1")
    assert len(cluster.said) == 3, "others than the one that is looked at may be elsewhere"


def test_queues_that_do_not_come_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 50))
    told = SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(clock))
    monkeypatch.setattr("tests.chaos.placing.time", told)
    site = Cluster().site()
    object.__setattr__(site, "queue_leader", lambda: "")
    with pytest.raises(Trouble, match="not led by shop-rabbitmq-n1"):
        bring_queues_to(site, "n1")


@pytest.mark.parametrize(
    ("name", "victim", "pods"),
    [
        pytest.param("node-cut", ("postgres-0", "n1"), ("10.0.api-n1", "10.0.rabbitmq-n1"), id="a node"),
        pytest.param("node-cut", ("postgres-0", "n4"), ("", ""), id="a node without any of them"),
        pytest.param("api-pod-deleted", ("api-n2", "n2"), ("10.0.api-n2", ""), id="a pod of the API"),
        pytest.param("rabbitmq-leader-frozen", ("rabbitmq-n2", "n2"), ("", "10.0.rabbitmq-n2"), id="one of RabbitMQ"),
        pytest.param("postgres-primary-deleted", ("postgres-0", "n1"), ("", ""), id="another one beside them"),
    ],
)
def test_held_connections_lead_to_the_pods_that_are_struck(
    name: str, victim: tuple[str, str], pods: tuple[str, str]
) -> None:
    """Whether they did was luck, and the rows of lost nodes told 0.5 s or 10.3 s by it."""
    site = Cluster().site()
    object.__setattr__(site, "pods", lambda kind: [running(f"{kind}-{node}", node) for node in ("n3", "n2", "n1")])
    led = led_to_the_struck(TARGET, SCENARIOS[name], site, Victim.of(running(*victim)))
    assert (led.api_pod, led.rabbitmq_pod) == pods


def test_one_operator_alone_cannot_be_lost_with_another_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.placing.time.sleep", lambda _: None)
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


class Patched:
    """A stack that takes merge patches."""

    name = namespace = "shop"

    def __init__(self, spec: dict[str, Any]) -> None:
        self.kept = {"metadata": {"annotations": {"theirs": "1"}}, "spec": spec}

    def stack(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(json.dumps(self.kept)))

    def kubectl(self, *words: str) -> None:
        self.kept = merged(self.kept, json.loads(words[-1]))


def merged(now: Any, change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    found = {**(now if isinstance(now, dict) else {})}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


@pytest.mark.parametrize("postgres", [{"instances": 2, "storage": {}}, {"instances": 3}, {"storage": {}}, None])
def test_a_spec_that_was_changed_is_taken_back_as_it_was_also_by_the_next_run(postgres: dict[str, Any] | None) -> None:
    spec = {"redis": {"replicas": 3}, **({} if postgres is None else {"postgres": postgres})}
    stack = Patched(spec)
    before = stack.stack()
    change_spec(cast("Site", stack), {"postgres": {"instances": 3}})
    assert stack.stack()["spec"]["postgres"]["instances"] == 3
    assert SPEC in stack.stack()["metadata"]["annotations"]
    assert restore_spec(cast("Site", stack))
    after = stack.stack()
    assert {**after["spec"].get("postgres", {})} == {**before["spec"].get("postgres", {})}
    assert after["metadata"] == before["metadata"]
    assert not restore_spec(cast("Site", stack)), "twice is once"
