"""Workers follow their backlog: up at once, down after a calm time, never beyond their bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appstack_operator.desired.workers import build_workers
from appstack_operator.observed import Observed, RabbitmqAnswers, RabbitmqNode
from appstack_operator.scaling import PARTS, ScalingMemory, is_idle, scale_workers
from tests.unit.operator.factories import NOW, a_context, a_stack, made, observed

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 6, "messagesPerReplica": 10, "scaleDownStabilizationSeconds": 60}
STACK = a_stack(
    backend={"workers": [{"name": "bulk", "queues": ["bulk", "notifications"], "autoscaling": AUTOSCALING}]}
)
NODES = (RabbitmqNode("rabbit@0", "shop-rabbitmq-0", is_running=True),)


def a_look(
    backlog: Mapping[str, int | None] | None, current: int = 2, after_seconds: float = 0, in_hand: int = 0
) -> Observed:
    """What a pass sees: the pool's Deployment and the queues (None: the broker does not answer)."""
    told = RabbitmqAnswers(nodes=NODES, backlog=backlog or {}, in_hand={"bulk": in_hand})
    answers = RabbitmqAnswers(error="no answer") if backlog is None else told
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


def test_after_an_outage_of_the_broker_the_calm_time_begins_anew() -> None:
    """An empty queue just then says little of the time before, of which nobody knows anything."""
    blind = [a_look(None, current=6, after_seconds=seconds) for seconds in (10, 300)]
    calm = [a_look({}, current=6, after_seconds=seconds) for seconds in (310, 369, 372)]
    assert decisions(a_look({"bulk": 60}), *blind, *calm) == [6, 6, 6, 6, 6, 2]


def test_a_pool_that_is_scaled_again_keeps_what_it_was_given_meanwhile() -> None:
    memory = ScalingMemory()
    scale_workers(STACK, a_look({}), memory)
    by_hand = a_stack(backend={"workers": [{"name": "bulk", "queues": ["bulk"], "replicas": 6}]})
    assert scale_workers(by_hand, a_look({}, current=6, after_seconds=300), memory) == {}
    assert scale_workers(STACK, a_look({}, current=6, after_seconds=600), memory) == {"bulk": 6}


def test_after_a_restart_of_the_operator_nobody_is_taken_away_at_once() -> None:
    assert decisions(a_look({}, current=6)) == [6]


def minutes_of_work(*in_hand: int, current: int = 6) -> list[int]:
    """The numbers of a pool that is looked at every 20 s, while its workers hold so many messages and none waits."""
    memory, numbers = ScalingMemory(), [current]
    for look, held in enumerate(in_hand):
        seen = a_look({"bulk": held}, numbers[-1], after_seconds=20 * look, in_hand=held)
        numbers.append(scale_workers(STACK, seen, memory)["bulk"])
    return numbers[1:]


def test_workers_with_one_long_message_each_are_not_taken_away() -> None:
    """One worker could do with six messages: the five that go would be ended in the midst of theirs."""
    assert set(minutes_of_work(*[6] * 60)) == {6}


def test_nobody_goes_while_any_message_may_be_a_long_one() -> None:
    """Kubernetes chooses who goes: it may be the one who still works."""
    assert set(minutes_of_work(6, 5, 4, 3, 2, *[1] * 60)) == {6}


def test_at_the_end_of_work_all_go() -> None:
    assert minutes_of_work(*[6] * 30, 0) == [*[6] * 30, 2]


def test_short_messages_that_come_and_go_keep_nobody_but_as_many_as_they_are() -> None:
    assert minutes_of_work(1, 0, 2, 0, 4) == [6, 6, 6, 6, 4]
    assert minutes_of_work(1, 0, 2, 0, 1) == [6, 6, 6, 6, 2]


def test_other_queues_in_hand_keep_nobody() -> None:
    looks = [a_look({}, 6, after_seconds=20 * n) for n in range(5)]
    others = [replace(each, rabbitmq=replace(each.rabbitmq, in_hand={"other": 9})) for each in looks]
    assert decisions(*others)[-1] == 2


def test_a_day_of_looks_is_remembered_in_few_words() -> None:
    day = a_stack(
        backend={
            "workers": [
                {
                    "name": "bulk",
                    "queues": ["bulk"],
                    "autoscaling": {**AUTOSCALING, "scaleDownStabilizationSeconds": 86400},
                }
            ]
        }
    )
    memory, empty = ScalingMemory(), a_look({})
    for look in range(0, 90_000, 60):
        scale_workers(day, replace(empty, now=NOW + timedelta(seconds=look)), memory)
    assert len(memory.needs["shop", "shop", "bulk"]) <= PARTS + 1


LOOKS = st.lists(st.tuples(st.integers(1, 25), st.integers(0, 70), st.integers(0, 12)), min_size=1, max_size=40)


@given(looks=LOOKS)
def test_whatever_comes_nobody_is_taken_away_too_early_nor_kept_for_ever(looks: list[tuple[int, int, int]]) -> None:
    """Seconds since the look before, messages that wait, messages in hand."""
    memory, current, at_seconds = ScalingMemory(), 2, 0
    history: list[tuple[int, int, int]] = []  # second, needed, in hand
    for pause, ready, held in looks:
        at_seconds += pause
        seen = a_look({"bulk": ready + held}, current, at_seconds, held)
        number = scale_workers(STACK, seen, memory)["bulk"]
        wanted = min(max(-(-(ready + held) // 10), 2), 6)
        history.append((at_seconds, wanted, held))
        calm = [(needed, in_hand) for second, needed, in_hand in history if second > at_seconds - 60]
        assert 2 <= number <= 6
        assert number >= max(needed for needed, _ in calm), "up at once, and down only after the calm time"
        assert number >= min(current, held)
        if number < current:
            recent = [in_hand for second, _, in_hand in history if second > at_seconds - 61]
            assert 0 in recent, "nobody can be at work since before the calm time"
        current = number
    for _ in range(7):
        at_seconds += 10
        current = scale_workers(STACK, a_look({}, current, at_seconds), memory)["bulk"]
    assert current == 2
