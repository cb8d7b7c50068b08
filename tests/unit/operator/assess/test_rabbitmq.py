"""What is said about RabbitMQ: the cause, not the symptom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.rabbitmq import assess_rabbitmq
from appstack_operator.assess.verdict import Reason
from appstack_operator.desired.rabbitmq import build_rabbitmq
from appstack_operator.observed import RabbitmqAnswers, RabbitmqNode
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, made, observed, pods

if TYPE_CHECKING:
    from appstack_operator.assess.verdict import Verdict

N0, N1, N2 = healthy_answers(a_stack())["rabbitmq"].nodes
STARTED: dict[str, Any] = {"containerStatuses": [{"name": "rabbitmq", "image": "rabbitmq:4", "started": True}]}


def verdict(*nodes: RabbitmqNode, error: str = "", **changes: Any) -> Verdict:
    stack = a_stack()
    (nodes_set,) = (obj for obj in build_rabbitmq(stack, a_context()) if obj["kind"] == "StatefulSet")
    running = changes.get("pods") or pods(stack, "rabbitmq", 3)
    live = made(stack, nodes_set, updateRevision="2")
    return assess_rabbitmq(stack, observed(live, *running, rabbitmq=RabbitmqAnswers(nodes, error=error)))


def down(node: RabbitmqNode) -> RabbitmqNode:
    return replace(node, is_running=False)


def test_three_running_nodes_are_healthy() -> None:
    assert (verdict(N0, N1, N2).status, verdict(N0, N1, N2).reason) == ("True", Reason.HEALTHY)


@pytest.mark.parametrize(
    ("nodes", "reason", "words"),
    [
        pytest.param(
            (N0, down(N1), down(N2)),
            Reason.QUORUM_LOST,
            ["1 of 3", "shop-rabbitmq-1", "shop-rabbitmq-2"],
            id="minority",
        ),
        pytest.param((N0, N1, down(N2)), Reason.REPLICA_MISSING, ["2 of 3"], id="one is down"),
        pytest.param((N0, N1), Reason.REPLICA_MISSING, ["2 of 3"], id="one has not joined"),
        pytest.param(
            (N0, N1, replace(N2, partitions=("rabbit@shop-rabbitmq-0.shop",))),
            Reason.PARTITION_DETECTED,
            ["shop-rabbitmq-2", "shop-rabbitmq-0"],
            id="a partition outlived the cut",
        ),
        pytest.param(
            tuple(
                replace(node, counts=tuple(n.name for n in of))
                for node, of in ((N0, [N0, N1]), (N1, [N0, N1]), (N2, [N2]))
            ),
            Reason.PARTITION_DETECTED,
            [
                "shop-rabbitmq-2 is partitioned from shop-rabbitmq-0, shop-rabbitmq-1",
                "a restart of shop-rabbitmq-2 ends it",
            ],
            id="all run, and nobody lists anybody",
        ),
        pytest.param(
            (N0, replace(N1, alarms=("disk",)), N2),
            Reason.PUBLISHERS_BLOCKED,
            ["shop-rabbitmq-1", "disk"],
            id="short of disk",
        ),
    ],
)
def test_the_reason_and_the_node_are_named(nodes: tuple[RabbitmqNode, ...], reason: Reason, words: list[str]) -> None:
    found = verdict(*nodes)
    assert (found.status, found.reason) == ("False", reason)
    assert all(word in found.message for word in words)


def test_nodes_that_never_started_are_being_made() -> None:
    stack = a_stack()
    new = [a_pod(stack, "rabbitmq", number, ready=False) for number in range(3)]
    assert verdict(error="refused", pods=new).reason is Reason.CREATING


def test_nodes_that_ran_and_are_silent_have_lost_their_quorum() -> None:
    stack = a_stack()
    old = [a_pod(stack, "rabbitmq", number, ready=False, **STARTED) for number in range(3)]
    found = verdict(error="shop-rabbitmq-0: refused", pods=old)
    assert (found.reason, "refused" in found.message) == (Reason.QUORUM_LOST, True)
