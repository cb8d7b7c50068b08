"""When a stack wants to be looked at again, and what is left to do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from appstack_operator.api import AppStack
from appstack_operator.api.status import AppStackStatus, Condition
from appstack_operator.apply import Failure
from appstack_operator.assess.verdict import Reason
from appstack_operator.client import ApiError
from appstack_operator.converge import (
    generate_credentials,
    next_look,
    pending_work,
    phase_of,
    report,
    report_invalid_spec,
    verdicts_of,
)
from appstack_operator.events import build_event
from appstack_operator.kinds import Ref
from appstack_operator.settings import Settings
from tests.unit.operator.factories import NOW, a_stack
from tests.unit.operator.running import a_running_stack, with_object

if TYPE_CHECKING:
    from appstack_operator.objects import Object

SETTINGS = Settings(image_backend="b", image_postgres="p", image_redis="r", image_rabbitmq="q", resync_seconds=60)


def moving_for(seconds: float) -> AppStackStatus:
    since = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    moving = Condition(type="Reconciling", status="True", reason="Creating", message="", last_transition_time=since)
    return AppStackStatus(conditions=[moving])


def a_failure(*, is_passing: bool) -> Failure:
    ref = Ref("Service", "shop", "shop-api")
    return Failure(ref, "api", Reason.APPLY_REFUSED, "refused", is_passing)


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
    assert verdicts_of(failures) == {}


def test_what_will_not_succeed_by_itself_is_a_verdict_of_its_component() -> None:
    verdicts = verdicts_of([a_failure(is_passing=False)])
    assert verdicts["api"].reason is Reason.APPLY_REFUSED


class Written:
    """An API server that takes whatever is written."""

    def __init__(self) -> None:
        self.applied: list[Object] = []

    async def apply(self, manifest: Object, **_: str) -> None:
        self.applied.append(manifest)

    async def create(self, manifest: Object) -> None:
        """Events."""


async def test_an_invalid_spec_is_told_also_where_the_status_cannot_be_read() -> None:
    live: Object = {
        "metadata": {"name": "shop", "namespace": "shop", "uid": "u", "generation": 2},
        "spec": {"backend": {"api": {"replicas": 1001}}},
        "status": {"migrations": {"state": "Unheard"}},
    }
    with pytest.raises(ValidationError) as refused:
        AppStack.model_validate(live)
    api = Written()
    await report_invalid_spec(api, live, refused.value, NOW)  # type: ignore[arg-type]
    (condition,) = api.applied[0]["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Stalled", "SpecInvalid")
    assert "spec.backend.api.replicas" in condition["message"]


async def test_an_invalid_spec_is_the_thing_to_know() -> None:
    live: Object = {
        "metadata": {"name": "shop", "namespace": "shop", "uid": "u", "generation": 2},
        "spec": {"backend": {"api": {"replicas": 1001}}},
        "status": {"summary": {"api": "2/2", "workers": "4/4", "reason": "Healthy", "message": "all is well"}},
    }
    with pytest.raises(ValidationError) as refused:
        AppStack.model_validate(live)
    api = Written()
    await report_invalid_spec(api, live, refused.value, NOW)  # type: ignore[arg-type]
    summary = api.applied[0]["status"]["summary"]
    assert (summary["api"], summary["workers"], summary["reason"]) == ("2/2", "4/4", "SpecInvalid")
    assert "spec.backend.api.replicas" in summary["message"]


class FailsOnce(Written):
    """An API server that cannot take the first event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.tries = 0

    async def create(self, manifest: Object) -> None:
        self.tries += 1
        if self.tries == 1:
            raise ApiError(500, "InternalError", "etcd is away")
        self.events.append(manifest["reason"])


async def test_an_event_that_cannot_be_written_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    stack, api = a_stack(), FailsOnce()
    since = "2026-01-01T00:00:00Z"
    conditions = [
        Condition(
            type="PostgresReady", reason="NoPrimary", message="nobody leads", status="False", last_transition_time=since
        ),
        Condition(
            type="RedisReady", reason="NoSentinelQuorum", message="1 of 3", status="False", last_transition_time=since
        ),
    ]
    news = [build_event(stack, "APIReady", "ReplicasIgnored", "a note", NOW, is_warning=False)]
    status = AppStackStatus(conditions=conditions)
    await report(api, stack, {"metadata": {}, "status": {}}, status, NOW, news)  # type: ignore[arg-type]
    assert api.events == ["NoSentinelQuorum", "ReplicasIgnored"]
    assert "etcd is away; it says: PostgresReady is False: nobody leads" in caplog.text


def test_passwords_are_long_safe_in_urls_and_never_the_same() -> None:
    first, second = generate_credentials(), generate_credentials()
    assert len(first.redis) >= 32
    assert first.redis.isalnum()
    assert first.redis not in (second.redis, first.postgres_app)


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
