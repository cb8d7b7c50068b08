"""What a stack is still busy with, and how soon it is looked at again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from appstack_operator.api.status import AppStackStatus, Condition
from appstack_operator.apply import Failure
from appstack_operator.assess.verdict import Reason
from appstack_operator.kinds import Ref
from appstack_operator.left_to_do import (
    as_it_lasts,
    next_look,
    pending_work,
    phase_of,
    tried_since,
    verdicts_of,
)
from appstack_operator.settings import Settings
from tests.unit.operator.factories import NOW, a_pod, a_stack, observed
from tests.unit.operator.running import a_running_stack, with_object

SETTINGS = Settings(image_backend="b", image_postgres="p", image_redis="r", image_rabbitmq="q", resync_seconds=60)

SERVICE = Ref("Service", "shop", "shop-api")


def moving_for(seconds: float) -> AppStackStatus:
    since = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    moving = Condition(type="Reconciling", status="True", reason="Creating", message="", last_transition_time=since)
    return AppStackStatus(conditions=[moving])


def a_failure(*, is_passing: bool, ref: Ref = SERVICE, component: str = "api") -> Failure:
    return Failure(ref, component, Reason.APPLY_REFUSED, "refused", is_passing)


def test_at_rest_a_stack_is_looked_at_rarely_and_at_its_own_moment() -> None:
    period = SETTINGS.resync_seconds
    for phase in (0.0, 0.25, 0.9):
        delay = next_look(SETTINGS, AppStackStatus(), [], NOW, phase)
        assert 0 < delay <= period
        at = NOW + timedelta(seconds=delay)
        assert (at.timestamp() / period) % 1 == pytest.approx(phase)
        assert next_look(SETTINGS, AppStackStatus(), [], at, phase) == pytest.approx(period), "and no earlier again"


def test_stacks_that_became_ready_together_are_looked_at_one_after_the_other() -> None:
    phases = [phase_of(f"uid-{number}") for number in range(300)]
    tenths = [sum(tenth <= phase * 10 < tenth + 1 for phase in phases) for tenth in range(10)]
    assert sum(tenths) == 300
    assert max(tenths) < 60, "twice as many as evenly"
    assert phase_of("uid-1") == phase_of("uid-1")


def test_a_stalled_stack_is_looked_at_each_minute() -> None:
    settings = SETTINGS.model_copy(update={"resync_seconds": 600})
    stalled = Condition(
        type="Stalled", status="True", reason="SecretMissing", message="", last_transition_time="2026-01-01T00:00:00Z"
    )
    assert next_look(settings, AppStackStatus(conditions=[stalled]), [], NOW, 0) == 60


@pytest.mark.parametrize(("age_seconds", "delay_seconds"), [(0, 3), (200, 10), (10_000, 60)])
def test_what_takes_long_is_looked_at_ever_more_rarely(age_seconds: float, delay_seconds: float) -> None:
    assert next_look(SETTINGS, moving_for(age_seconds), [], NOW, 0) == delay_seconds


def test_what_may_succeed_by_itself_is_tried_again_soon_and_is_no_verdict() -> None:
    failures = [a_failure(is_passing=True)]
    assert next_look(SETTINGS, AppStackStatus(), failures, NOW, 0) == 3
    assert verdicts_of(failures, observed()) == {}


def test_what_will_not_succeed_by_itself_is_a_verdict_of_its_component() -> None:
    verdicts = verdicts_of([a_failure(is_passing=False)], observed())
    assert verdicts["api"].reason is Reason.APPLY_REFUSED


def test_a_refused_restart_is_a_verdict_of_what_the_pod_belongs_to() -> None:
    """Of what is deleted nothing is sent that would name its component."""
    stack = a_stack()
    pod = a_pod(stack, "postgres", 1)
    refused = a_failure(is_passing=False, ref=Ref.of(pod), component="")
    assert verdicts_of([refused], observed(pod)).keys() == {"postgres"}


def test_what_fails_at_each_try_for_a_minute_is_told() -> None:
    failure = a_failure(is_passing=True)
    since: dict[Ref, datetime] = {}
    for seconds, is_told in ((0, False), (30, False), (59, False), (60, True), (120, True)):
        now = NOW + timedelta(seconds=seconds)
        since = tried_since([failure], since, now)
        assert as_it_lasts(failure, since, now).is_passing is not is_told
    assert as_it_lasts(failure, since, now).message == "refused; so at each try since 12:00:00Z", "always the same"
    assert tried_since([], since, now) == {}, "it has succeeded"
    again = tried_since([failure], {}, now)
    assert as_it_lasts(failure, again, now) == failure


def test_a_pod_that_may_not_be_moved_is_never_told() -> None:
    refused = replace(a_failure(is_passing=True), is_urgent=False)
    since = tried_since([refused], {refused.target: NOW - timedelta(hours=1)}, NOW)
    assert as_it_lasts(refused, since, NOW) == refused


def test_what_a_user_runs_under_the_label_of_the_stack_is_nothing_that_it_is_busy_with() -> None:
    stack = a_stack()
    seen = a_running_stack(stack)
    live = seen.get("Deployment", "shop-api")
    assert live is not None
    unfinished = {**live, "status": {}}
    assert pending_work(stack, with_object(seen, unfinished), [], []) == ["Deployment shop-api is being rolled out"]
    theirs = {**unfinished, "metadata": {**live["metadata"], "name": "uploads", "ownerReferences": []}}
    theirs["metadata"].pop("annotations")
    assert pending_work(stack, with_object(seen, theirs), [], []) == []
