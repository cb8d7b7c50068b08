"""From verdicts to conditions: what stalls, what is the thing to know, and what a condition keeps."""

from __future__ import annotations

from appstack_operator.assess.conditions import Work, build_conditions, headline
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.observed import RedisAnswers, SentinelAnswer
from tests.unit.operator.factories import NOW, a_stack, healthy_answers, observed
from tests.unit.operator.running import a_running_stack, verdicts

FOREIGN = Work(["create Service shop-api"], {"api": Verdict.false(Reason.FOREIGN_OBJECT, "Service shop-api exists")})


def test_a_foreign_object_is_said_at_its_component_and_stalls() -> None:
    stack = a_stack()
    found = verdicts(stack, a_running_stack(stack), FOREIGN)
    assert found["Ready"].is_true
    assert found["APIReady"].reason is Reason.FOREIGN_OBJECT
    assert found["Stalled"].reason is Reason.FOREIGN_OBJECT


def test_what_stalls_a_start_is_the_thing_to_know() -> None:
    stack = a_stack()
    found = verdicts(stack, observed(**healthy_answers(stack)), FOREIGN)
    assert found["Ready"].reason is Reason.MIGRATION_PENDING
    assert headline(found).reason is Reason.FOREIGN_OBJECT


def test_an_outage_is_the_thing_to_know_even_if_something_stalls() -> None:
    stack = a_stack()
    disputed = tuple(SentinelAnswer(f"shop-redis-sentinel-{i}", master=f"shop-redis-{i}") for i in range(3))
    found = verdicts(stack, a_running_stack(stack, redis=RedisAnswers(disputed)), FOREIGN)
    assert headline(found).reason is Reason.MASTER_DISPUTED


def test_ready_speaks_for_a_generation_only_once_it_is_rolled_out() -> None:
    stack = a_stack()
    found = verdicts(stack, a_running_stack(stack))
    first = build_conditions(found, [], 1, is_settled=True, now=NOW)
    during = build_conditions(found, first, 2, is_settled=False, now=NOW)
    after = build_conditions(found, during, 2, is_settled=True, now=NOW)
    spoken = [next(c for c in each if c.type == "Ready").observed_generation for each in (first, during, after)]
    assert spoken == [1, 1, 2]


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    stack = a_stack()
    found = verdicts(stack, a_running_stack(stack))
    first = build_conditions(found, [], 1, is_settled=True, now=NOW)
    again = build_conditions(found, first, 1, is_settled=True, now=NOW.replace(year=2027))
    assert again == first
