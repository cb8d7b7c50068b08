"""Which pods of a silent node are taken out of their Services, and whom the operator asks to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.pods import NODE_SILENT
from appstack_operator.desired.stack import build_stack
from appstack_operator.kinds import Ref
from appstack_operator.marks import plan_marks
from appstack_operator.neighbours import PORT_NAMES, Neighbours, Place, place_of, places_of, to_take_out
from appstack_operator.objects import ROLE_LABEL, component_of
from appstack_operator.plan import Impact, Verb
from tests.unit.operator.factories import NOW, a_context, a_pod, a_stack

if TYPE_CHECKING:
    from appstack_operator.objects import Object

STACK = a_stack()
SHOP, OTHER = ("shop", "shop"), ("shop", "other")


def a_place(name: str, node: str, *, component: str = "api", role: str = "", ready: bool = True) -> Place:
    return Place(name, component, role, node, "10.0.0.1", 8000, ready)


def taken_out(*places: Place, silent: str) -> str:
    return "".join(place.uid for place in to_take_out(places, set(silent)))


@pytest.mark.parametrize(
    ("places", "taken"),
    [
        pytest.param([a_place("a", "1"), a_place("b", "2")], "a", id="another one stands in"),
        pytest.param([a_place("a", "1")], "", id="the only one"),
        pytest.param([a_place("a", "1"), a_place("b", "1")], "", id="the other one is on the same node"),
        pytest.param([a_place("a", "1"), a_place("b", "2", ready=False)], "", id="the other one is not ready"),
        pytest.param([a_place("a", "1"), a_place("s", "2")], "", id="the other one is silent, too"),
        pytest.param([a_place("a", "1", ready=False), a_place("b", "2")], "", id="it is out already"),
        pytest.param([a_place("a", "1"), a_place("b", "2", component="redis")], "", id="the other one does other work"),
        pytest.param(
            [a_place("a", "1", role="primary"), a_place("b", "2", role="replica")], "", id="a replica is no primary"
        ),
        pytest.param(
            [a_place("a", "1", role="primary"), a_place("b", "2", role="primary")], "a", id="a new primary has come"
        ),
        pytest.param([a_place("a", "1"), a_place("s", "1"), a_place("b", "2")], "as", id="both of a node"),
    ],
)
def test_only_what_another_pod_stands_in_for_is_taken_out(places: list[Place], taken: str) -> None:
    assert taken_out(*places, silent="as") == taken


def test_what_answers_stays() -> None:
    assert taken_out(a_place("a", "1"), a_place("b", "2"), silent="") == ""


def a_serving_pod(component: str = "api", number: int = 0, **changes: Any) -> Object:
    pod = a_pod(STACK, component, number, podIP=f"10.0.0.{number}", **changes)
    pod["metadata"]["resourceVersion"] = "7"
    pod["spec"]["containers"] = [{"ports": [{"name": "metrics", "containerPort": 9000}]}, {"ports": None}]
    pod["spec"]["containers"][1]["ports"] = [{"name": PORT_NAMES.get(component, "http"), "containerPort": 8000}]
    return pod


def test_a_pod_is_asked_at_the_port_that_it_names_itself() -> None:
    pod = a_serving_pod("postgres", 1, labels={ROLE_LABEL: "replica"})
    assert place_of(pod) == Place("postgres-1", "postgres", "replica", "node-1", "10.0.0.1", 8000, is_ready=True)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(a_serving_pod("worker-bulk"), id="nobody connects to a worker"),
        pytest.param(a_serving_pod(node=""), id="not on a node"),
        pytest.param(a_serving_pod() | {"status": {"phase": "Pending", "podIP": "10.0.0.1"}}, id="still to start"),
        pytest.param(a_serving_pod() | {"status": {"phase": "Running"}}, id="without an address"),
        pytest.param(a_serving_pod() | {"spec": {"nodeName": "node-0", "containers": [{}]}}, id="without a port"),
    ],
)
def test_who_could_not_answer_is_not_asked(pod: Object) -> None:
    assert place_of(pod) is None


def test_a_pod_on_its_way_out_is_not_asked() -> None:
    pod = a_serving_pod()
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    assert place_of(pod) is None


def test_every_component_with_a_service_has_a_port_that_is_asked() -> None:
    stack = a_stack(postgres={"pooler": {"enabled": True}})
    manifests = [item.manifest for item in build_stack(stack, a_context())]
    chosen = [each["spec"].get("selector") or {} for each in manifests if each["kind"] == "Service"]
    assert {each["appstack.dev/component"] for each in chosen} == PORT_NAMES.keys()
    workloads = [each for each in manifests if each["kind"] in ("Deployment", "StatefulSet")]
    named = {
        component_of(each): [
            port["name"]
            for container in each["spec"]["template"]["spec"]["containers"]
            for port in container.get("ports", [])
        ]
        for each in workloads
    }
    assert all(name in named[component] for component, name in PORT_NAMES.items())


def test_a_mark_changes_one_condition_of_exactly_what_was_seen() -> None:
    pods = [a_serving_pod(number=number) for number in range(2)]
    pods[0]["status"]["conditions"].insert(0, {"type": "PodScheduled", "status": "True"})
    (action,) = plan_marks(pods, {"api-0": "node-0"}, NOW)
    assert (action.verb, action.target, action.uid) == (Verb.MARK, Ref("Pod", "shop", "shop-api-0"), "api-0")
    assert action.impact is Impact.IN_PLACE
    assert action.why == "node node-0 does not answer, and other api pods stand in"
    assert action.manifest is not None
    assert action.manifest["metadata"] == {"resourceVersion": "7"}
    kept, ready = action.manifest["status"]["conditions"]
    assert kept == {"type": "PodScheduled", "status": "True"}
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", NODE_SILENT)
    assert ready["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    assert pods[0]["status"]["conditions"][1]["status"] == "True", "what was seen stays what was seen"


def test_the_pods_of_a_node_take_turns() -> None:
    neighbours = Neighbours()
    neighbours.note(SHOP, [a_place("a", "1"), a_place("b", "1"), a_place("c", "2")])
    neighbours.note(OTHER, [a_place("d", "1")])
    asked = [{node: place.uid for node, place in neighbours.one_on_each_node().items()} for _ in range(4)]
    assert asked == [{"1": uid, "2": "c"} for uid in "abda"]


def test_what_a_later_look_sees_counts() -> None:
    neighbours = Neighbours()
    neighbours.note(SHOP, [a_place("a", "1"), a_place("b", "2")])
    neighbours.note(OTHER, [a_place("c", "1")])
    neighbours.note(SHOP, [a_place("a", "3", ready=False)])
    assert {node: place.uid for node, place in neighbours.one_on_each_node().items()} == {"1": "c", "3": "a"}
    assert list(neighbours.on_node("3")) == [(SHOP, a_place("a", "3", ready=False))]
    assert list(neighbours.on_node("2")) == []
    assert neighbours.of_stack(SHOP) == [a_place("a", "3", ready=False)]


def test_a_pod_that_changes_its_stack_is_the_other_ones() -> None:
    """Somebody changes its label, and the other stack's pass sees it first."""
    neighbours = Neighbours()
    neighbours.note(SHOP, [a_place("a", "1"), a_place("b", "2")])
    neighbours.note(OTHER, [a_place("a", "1")])
    neighbours.note(SHOP, [a_place("b", "2")])
    assert list(neighbours.on_node("1")) == [(OTHER, a_place("a", "1"))]
    neighbours.forget(OTHER)
    assert neighbours.nodes() == {"2"}


def test_a_stack_that_goes_leaves_nothing() -> None:
    neighbours = Neighbours()
    neighbours.note(SHOP, places_of([a_serving_pod(number=number) for number in range(3)]))
    assert len(neighbours.one_on_each_node()) == 3
    neighbours.forget(SHOP)
    neighbours.forget(OTHER)
    assert neighbours.one_on_each_node() == {}
    assert neighbours.of_stack(SHOP) == []
