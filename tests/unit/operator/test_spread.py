"""Which pod goes back to a node of its own, when, and which never does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.api.status import Condition
from appstack_operator.kinds import Ref
from appstack_operator.observed import Node, Observed
from appstack_operator.plan import Verb, plan_move
from appstack_operator.spread import (
    LOOK_SECONDS,
    MOVED,
    RETRY,
    describe_move,
    look_seconds,
    next_move,
    wants_nodes,
)
from tests.unit.operator.factories import NOW, a_pod, a_stack, observed

if TYPE_CHECKING:
    from appstack_operator.api import AppStack
    from appstack_operator.objects import Object

SENTINELS = "redis-sentinel"
THREE = tuple(Node(f"node-{number}") for number in range(3))
# The second Sentinel has come back on the node of the first.
SHARED = ("node-0", "node-0", "node-1")


def ago(**time: float) -> str:
    return (NOW - timedelta(**time)).isoformat()


def workload(stack: AppStack, component: str, kind: str = "StatefulSet", note: str = "") -> Object:
    labels = a_pod(stack, component)["metadata"]["labels"]
    meta = {"name": f"{stack.name}-{component}", "namespace": stack.namespace, "uid": "w", "labels": labels}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {**meta, "annotations": {MOVED: note} if note else {}}}


def placed(
    stack: AppStack,
    nodes: tuple[str, ...] = SHARED,
    *,
    ages: tuple[float, ...] = (900, 120, 900),
    note: str = "",
    open_nodes: tuple[Node, ...] = THREE,
    component: str = SENTINELS,
    spec: dict[str, Any] | None = None,
    **pod: Any,
) -> Observed:
    """Pods of a component on these nodes, so many seconds old."""
    pods = [a_pod(stack, component, number, node=node, **pod) for number, node in enumerate(nodes)]
    for each, age in zip(pods, ages, strict=False):
        each["metadata"]["creationTimestamp"] = ago(seconds=age)
        each["spec"] |= spec or {}
    kind = "Deployment" if component == "api" else "StatefulSet"
    return replace(observed(*pods, workload(stack, component, kind, note)), nodes=open_nodes)


def moved(seen: Observed, stack: AppStack | None = None) -> str | None:
    move = next_move(stack or a_stack(), seen)
    return move.pod["metadata"]["name"] if move else None


def test_the_pod_that_came_last_is_moved_when_a_node_is_free() -> None:
    stack = a_stack()
    (action,) = plan_move(stack, placed(stack))
    assert (action.verb, action.target, action.uid) == (
        Verb.EVICT,
        Ref("Pod", "shop", "shop-redis-sentinel-1"),
        "redis-sentinel-1",
    )
    assert action.why == "node node-0 has 2 redis-sentinel pods, and node-2 has room for one"
    assert action.manifest is not None
    assert action.manifest["metadata"]["annotations"] == {MOVED: "2026-01-01T12:00:00+00:00 redis-sentinel-1 1"}
    assert action.manifest["metadata"]["uid"] == "w"


def test_pods_of_the_api_are_moved_too() -> None:
    stack = a_stack()
    assert moved(placed(stack, ("node-0", "node-0"), component="api")) == "shop-api-1"


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(("node-0", "node-1", "node-2"), id="each has its own"),
        pytest.param((None, None, None), id="none has one yet"),
        pytest.param(("node-0", "node-0"), id="one is missing"),
    ],
)
def test_pods_that_share_nothing_stay(nodes: tuple[str, ...]) -> None:
    seen = placed(a_stack(), nodes)
    assert moved(seen) is None
    assert not wants_nodes(a_stack(), seen)
    assert look_seconds(a_stack(), seen) is None


def test_three_pods_of_the_api_may_share_a_node_while_one_is_elsewhere() -> None:
    stack = a_stack(backend={"api": {"replicas": 3}})
    assert moved(placed(stack, component="api"), stack) is None


def test_the_note_of_a_move_is_written_on_nothing_of_the_users() -> None:
    """They put the stack's labels on what is theirs, too: a Deployment that comes first was taken for the API's."""
    stack = a_stack(backend={"api": {"replicas": 2}})
    seen = placed(stack, ("node-0", "node-0"), component="api")
    theirs = workload(stack, "api", "Deployment")
    theirs["metadata"] |= {"name": "a-proxy", "uid": "theirs"}
    both = replace(seen, objects={**seen.objects, "Deployment": {"a-proxy": theirs, **seen.objects["Deployment"]}})
    (action,) = plan_move(stack, both)
    assert action.manifest is not None
    assert action.manifest["metadata"]["name"] == "shop-api"


def test_a_stack_that_asks_for_single_pods_is_left_alone() -> None:
    assert moved(placed(a_stack()), a_stack(rabbitmq={"replicas": 1})) is None


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(Node("node-2", is_open=False), id="cordoned or not ready"),
        pytest.param(Node("node-2", taints=({"key": "a", "effect": "NoSchedule"},)), id="tainted"),
        pytest.param(Node("node-2", taints=({"key": "a", "value": "2", "effect": "NoExecute"},)), id="another value"),
        pytest.param(Node("node-1"), id="has one of the kind"),
    ],
)
def test_without_a_free_node_nothing_moves_and_a_pass_looks_again(node: Node) -> None:
    tolerations = [{"key": "a", "value": "1", "effect": "NoExecute"}]
    seen = placed(a_stack(), open_nodes=(*THREE[:2], node), spec={"tolerations": tolerations})
    assert moved(seen) is None
    assert wants_nodes(a_stack(), seen)
    assert look_seconds(a_stack(), seen) == LOOK_SECONDS


@pytest.mark.parametrize(
    "toleration",
    [
        pytest.param({"key": "a", "operator": "Exists"}, id="any value"),
        pytest.param({"operator": "Exists"}, id="everything"),
        pytest.param({"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"}, id="this very one"),
    ],
)
def test_a_taint_that_the_pod_tolerates_is_no_hindrance(toleration: dict[str, str]) -> None:
    taints = ({"key": "a", "value": "1", "effect": "NoSchedule"}, {"key": "b", "effect": "PreferNoSchedule"})
    seen = placed(a_stack(), open_nodes=(Node("node-2", taints=taints),), spec={"tolerations": [toleration]})
    assert moved(seen)


def test_the_node_must_have_the_labels_that_the_pod_asks_for() -> None:
    def seen(disk: str) -> Observed:
        node = Node("node-2", labels={"disk": disk, "more": "yes"})
        return placed(a_stack(), open_nodes=(node,), spec={"nodeSelector": {"disk": "fast"}})

    assert moved(seen("slow")) is None
    assert moved(seen("fast"))


def test_a_pod_that_its_volume_binds_stays_and_another_goes() -> None:
    volume = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-1"}}]
    seen = placed(a_stack(), volumes=volume)
    assert moved(seen) is None
    assert look_seconds(a_stack(), seen) is None
    seen.pods(SENTINELS)[0]["spec"]["volumes"] = []
    assert moved(seen) == "shop-redis-sentinel-0"


def test_nothing_moves_while_a_pod_of_the_kind_is_not_ready_or_goes() -> None:
    seen = placed(a_stack())
    seen.pods(SENTINELS)[2]["metadata"]["deletionTimestamp"] = ago()
    assert moved(seen) is None
    assert moved(placed(a_stack(), ready=False)) is None


def test_a_pod_is_left_time_to_settle() -> None:
    young = placed(a_stack(), ages=(900, 20, 900))
    assert moved(young) is None
    assert not wants_nodes(a_stack(), young)
    assert look_seconds(a_stack(), young) == 10


@pytest.mark.parametrize(("times", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), ("9" * 99, 60)])
def test_who_lands_on_a_shared_node_again_is_moved_later_each_time_an_hour_at_last(times: object, minutes: int) -> None:
    def again(seconds: float) -> Observed:
        # The next one came ten seconds after the last move.
        note = f"{ago(seconds=seconds)} another {times}"
        return placed(a_stack(), ages=(9000, seconds - 10, 9000), note=note)

    soon = again(minutes * 60 - 60)
    assert moved(soon) is None
    assert not wants_nodes(a_stack(), soon)
    assert look_seconds(a_stack(), soon) == 60
    move = next_move(a_stack(), again(minutes * 60))
    assert move is not None
    assert move.note == f"{ago()} redis-sentinel-1 {int(str(times)) + 1}"


def test_of_three_on_one_node_the_second_follows_the_first() -> None:
    """The one that was moved is elsewhere by now; its neighbours have been there all the time."""
    seen = placed(a_stack(), ("node-0", "node-0", "node-1"), ages=(900, 900, 40), note=f"{ago(seconds=45)} another 1")
    move = next_move(a_stack(), seen)
    assert move is not None
    assert move.note.endswith(" redis-sentinel-1 1")


def test_who_lands_on_a_shared_node_in_another_drain_starts_anew() -> None:
    move = next_move(a_stack(), placed(a_stack(), ages=(9000, 60, 9000), note=f"{ago(minutes=5)} another 4"))
    assert move is not None
    assert move.note.endswith(" redis-sentinel-1 1")


@pytest.mark.parametrize(
    ("changed", "times"),
    [
        pytest.param(100, 5, id="the whole time since the last move"),
        pytest.param(90, 5, id="since the very second of it"),
        pytest.param(80, 1, id="not since then: a new drain"),
    ],
)
def test_moves_are_in_a_row_while_the_stack_is_not_highly_available(changed: float, times: int) -> None:
    """A drain within a minute of a move was taken for what the move had led to: in the wrong place for 5 minutes."""
    told = {"type": "HighlyAvailable", "status": "False", "reason": "SharedNode", "message": "two on one node"}
    condition = Condition.model_validate({**told, "lastTransitionTime": ago(seconds=changed)})
    stack = a_stack()
    stack = stack.model_copy(update={"status": stack.status.model_copy(update={"conditions": [condition]})})
    seen = placed(stack, ages=(9000, 70, 9000), note=f"{ago(seconds=90)} another 4")
    assert (moved(seen, stack) is None) is (times > 1)
    move = next_move(stack, replace(seen, now=NOW + timedelta(hours=1)))
    assert move is not None
    assert move.note.endswith(f" redis-sentinel-1 {times}")


def test_a_note_of_an_older_operator_counts_as_one_move() -> None:
    seen = placed(a_stack(), ages=(9000, 4 * 60, 9000), note=f"{ago(minutes=4, seconds=10)} another")
    assert look_seconds(a_stack(), seen) == 50


def test_another_drain_soon_after_a_move_is_answered() -> None:
    assert moved(placed(a_stack(), ages=(9000, 60, 9000), note=f"{ago(minutes=5)} another"))


def test_a_move_that_was_cut_off_is_tried_again_and_keeps_its_time_for_a_minute() -> None:
    def seen(seconds: float) -> Observed:
        return placed(a_stack(), note=f"{ago(seconds=seconds)} redis-sentinel-1 3")

    for seconds, noted in ((50, 50), (RETRY.total_seconds(), 0), (3000, 0)):
        move = next_move(a_stack(), seen(seconds))
        assert move is not None
        assert move.note == f"{ago(seconds=noted)} redis-sentinel-1 3"


@pytest.mark.parametrize("note", ["nonsense", "2026-01-01 x", " ", f"{NOW.isoformat()} x y"])
def test_a_note_that_nobody_can_read_is_none(note: str) -> None:
    assert moved(placed(a_stack(), note=note))


def test_a_paused_stack_and_hidden_nodes_are_not_looked_at_again() -> None:
    assert look_seconds(a_stack(paused=True), placed(a_stack())) is None
    assert not wants_nodes(a_stack(paused=True), placed(a_stack()))
    assert look_seconds(a_stack(), replace(placed(a_stack()), nodes=(), are_nodes_hidden=True)) is None


POD, SHARES = "Pod shop-redis-sentinel-1", "shares node node-0 with others of its kind"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        pytest.param(
            placed(a_stack()),
            f"a move is due: {POD}, since node node-0 has 2 redis-sentinel pods, and node-2 has room for one",
            id="due",
        ),
        pytest.param(
            placed(a_stack(), ages=(900, 20, 900)),
            f"{POD} {SHARES}: it is not moved before 2026-01-01T12:00:10Z",
            id="it has just come",
        ),
        pytest.param(
            placed(a_stack(), open_nodes=THREE[:2]), f"{POD} {SHARES}: no other node is open to it", id="no room"
        ),
        pytest.param(
            replace(placed(a_stack(), open_nodes=()), are_nodes_hidden=True),
            f"{POD} {SHARES}: whether a move is due cannot be seen without the right to list nodes",
            id="hidden",
        ),
        pytest.param(placed(a_stack(), ("node-0", "node-1", "node-2")), "", id="none shares a node"),
    ],
)
def test_people_are_told_of_the_next_move(seen: Observed, said: str) -> None:
    assert describe_move(a_stack(), seen) == said
    assert describe_move(a_stack(paused=True), seen) == ""
