"""Workers follow their backlog: up at once, down after a calm time, never beyond their bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from appstack_operator.desired.workers import build_workers
from appstack_operator.observed import Observed, RabbitmqAnswers, RabbitmqNode
from appstack_operator.scaling import ScalingMemory, is_idle, scale_workers
from tests.unit.operator.factories import a_context, a_stack, made, observed

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 6, "messagesPerReplica": 10, "scaleDownStabilizationSeconds": 60}
STACK = a_stack(
    backend={"workers": [{"name": "bulk", "queues": ["bulk", "notifications"], "autoscaling": AUTOSCALING}]}
)
NODES = (RabbitmqNode("rabbit@0", "shop-rabbitmq-0", is_running=True),)


def a_look(backlog: Mapping[str, int | None] | None, current: int = 2, after_seconds: float = 0) -> Observed:
    """What a pass sees: the pool's Deployment and the queues (None: the broker does not answer)."""
    answers = RabbitmqAnswers(error="no answer") if backlog is None else RabbitmqAnswers(nodes=NODES, backlog=backlog)
    deployment = build_workers(STACK, a_context(worker_replicas={"bulk": current}))[-1]
    seen = observed(made(STACK, deployment), rabbitmq=answers)
    return replace(seen, now=seen.now + timedelta(seconds=after_seconds))


def decisions(*looks: Observed) -> list[int]:
    memory = ScalingMemory()
    return [scale_workers(STACK, look, memory)["bulk"] for look in looks]


@pytest.mark.parametrize(
    ("backlog", "replicas"),
    [
        pytest.param({}, 2, id="never fewer than the least"),
        pytest.param({"bulk": 31}, 4, id="a begun ten counts in full"),
        pytest.param({"bulk": 20, "notifications": 15}, 4, id="all queues of the pool count"),
        pytest.param({"bulk": 9999}, 6, id="never more than the most"),
        pytest.param({"other": 9999}, 2, id="other queues do not count"),
    ],
)
def test_the_number_follows_the_backlog(backlog: dict[str, int], replicas: int) -> None:
    assert decisions(a_look(backlog)) == [replicas]


def test_a_queue_without_a_leader_is_not_an_empty_one() -> None:
    looks = [a_look({"bulk": None, "notifications": 3}, current=5, after_seconds=20 * n) for n in range(10)]
    assert set(decisions(*looks)) == {5}


@pytest.mark.parametrize(
    ("backlog", "current", "idle"),
    [
        pytest.param({}, 2, True, id="nothing waits, and the fewest workers"),
        pytest.param({"bulk": 1}, 2, False, id="something waits"),
        pytest.param({}, 5, False, id="a calm is still to be judged"),
        pytest.param({"bulk": None}, 2, False, id="nobody knows"),
        pytest.param(None, 2, False, id="nobody answers"),
    ],
)
def test_a_pool_is_idle_once_it_has_come_down(backlog: dict[str, int | None] | None, current: int, idle: bool) -> None:
    assert is_idle(STACK, a_look(backlog, current)) is idle


def test_up_at_once() -> None:
    assert decisions(a_look({}), a_look({"bulk": 60}, after_seconds=5)) == [2, 6]


def test_down_only_after_a_calm_time() -> None:
    looks = [a_look({"bulk": 60})] + [a_look({}, current=6, after_seconds=seconds) for seconds in (30, 59, 61)]
    assert decisions(*looks) == [6, 6, 6, 2]


def test_a_backlog_that_comes_and_goes_makes_no_waves() -> None:
    looks = [a_look({"bulk": 60 if n % 2 else 0}, current=6, after_seconds=20 * n) for n in range(10)]
    assert set(decisions(*looks)) == {6}


def test_an_unreadable_backlog_changes_nothing() -> None:
    assert decisions(a_look(None, current=5)) == [5]


def test_after_a_restart_of_the_operator_nobody_is_taken_away_at_once() -> None:
    assert decisions(a_look({}, current=6)) == [6]
