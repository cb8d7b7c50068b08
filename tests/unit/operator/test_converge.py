"""When a stack wants to be looked at again, and what is left to do."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from appstack_operator import converge
from appstack_operator.api import AppStack
from appstack_operator.api.status import AppStackStatus, Condition
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.client import ApiError
from appstack_operator.converge import (
    CRASHED_SECONDS,
    Operator,
    generate_credentials,
    refusal_of,
    report,
    report_stalled,
    run_pass,
)
from appstack_operator.events import build_event
from appstack_operator.left_to_do import PASSING_SECONDS
from appstack_operator.lifecycle import FINALIZER
from appstack_operator.settings import Settings
from tests.unit.operator.factories import NOW, a_stack

if TYPE_CHECKING:
    from appstack_operator.kinds import Ref
    from appstack_operator.objects import Object

SETTINGS = Settings(image_backend="b", image_postgres="p", image_redis="r", image_rabbitmq="q")
REFUSED = Verdict.true(Reason.APPLY_REFUSED, "nothing is done")


class Written:
    """An API server that takes whatever is written."""

    def __init__(self) -> None:
        self.applied: list[Object] = []

    async def apply(self, manifest: Object, *_: str, **__: str) -> Object:
        self.applied.append(manifest)
        return manifest

    async def create(self, manifest: Object) -> Object:
        """Events, and what is to be there once."""
        return manifest


async def test_an_invalid_spec_is_told_also_where_the_status_cannot_be_read() -> None:
    live: Object = {
        "metadata": {"name": "shop", "namespace": "shop", "uid": "u", "generation": 2},
        "spec": {"backend": {"api": {"replicas": 1001}}},
        "status": {"migrations": {"state": "Unheard"}},
    }
    with pytest.raises(ValidationError) as refused:
        AppStack.model_validate(live)
    api = Written()
    await report_stalled(api, live, refusal_of(refused.value), NOW)  # type: ignore[arg-type]
    conditions = api.applied[0]["status"]["conditions"]
    told = [(each["type"], each["status"], each["reason"]) for each in conditions]
    ready, available = (("Ready", "Unknown", "SpecInvalid"), ("HighlyAvailable", "Unknown", "SpecInvalid"))
    assert told == [ready, available, ("Stalled", "True", "SpecInvalid")]
    assert all("spec.backend.api.replicas" in each["message"] for each in conditions)


async def test_a_stack_that_nobody_looks_at_is_not_called_ready() -> None:
    """What was true then says nothing of now; but Ready has spoken for a generation, and goes on to."""
    was = {"status": "True", "reason": "Healthy", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    kinds = ("Ready", "HighlyAvailable", "PostgresReady")
    live: Object = {
        "metadata": {"name": "shop", "namespace": "shop", "uid": "u", "generation": 2},
        "status": {"conditions": [{"type": each, "observedGeneration": 1, **was} for each in kinds]},
    }
    api = Written()
    await report_stalled(api, live, REFUSED, NOW)  # type: ignore[arg-type]
    status = api.applied[0]["status"]
    told = {each["type"]: (each["status"], each["observedGeneration"]) for each in status["conditions"]}
    assert told == {
        "Ready": ("Unknown", 1),
        "HighlyAvailable": ("Unknown", 2),
        "PostgresReady": ("True", 1),
        "Stalled": ("True", 2),
    }
    again = Written()
    await report_stalled(again, {**live, "status": status}, REFUSED, NOW)  # type: ignore[arg-type]
    assert again.applied == [], "told once"


async def test_an_invalid_spec_is_the_thing_to_know() -> None:
    live: Object = {
        "metadata": {"name": "shop", "namespace": "shop", "uid": "u", "generation": 2},
        "spec": {"backend": {"api": {"replicas": 1001}}},
        "status": {"summary": {"api": "2/2", "workers": "4/4", "reason": "Healthy", "message": "all is well"}},
    }
    with pytest.raises(ValidationError) as refused:
        AppStack.model_validate(live)
    api = Written()
    await report_stalled(api, live, refusal_of(refused.value), NOW)  # type: ignore[arg-type]
    summary = api.applied[0]["status"]["summary"]
    assert (summary["api"], summary["workers"], summary["reason"]) == ("2/2", "4/4", "SpecInvalid")
    assert "spec.backend.api.replicas" in summary["message"]


class FailsOnce(Written):
    """An API server that cannot take the first event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.tries = 0

    async def create(self, manifest: Object) -> Object:
        self.tries += 1
        if self.tries == 1:
            raise ApiError(500, "InternalError", "etcd is away")
        self.events.append(manifest["reason"])
        return manifest


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


class There(Written):
    """An API server with one stack."""

    def may_write(self) -> bool:
        return True

    def __init__(self, **metadata: str) -> None:
        super().__init__()
        self.looks = asyncio.Semaphore(1)
        meta = {"name": "shop", "namespace": "shop", "uid": "u", "generation": 2, "finalizers": [FINALIZER], **metadata}
        self.live: Object = {"apiVersion": "appstack.dev/v1alpha1", "kind": "AppStack", "metadata": meta, "spec": {}}

    async def get(self, ref: Ref) -> Object | None:
        return self.live if ref.kind == "AppStack" else None

    async def list(self, *_: object) -> list[Object]:
        return []


def told_by(api: There) -> list[Object]:
    """The conditions that were written."""
    return [each for manifest in api.applied for each in manifest.get("status", {}).get("conditions", [])]


@pytest.mark.parametrize(
    ("room", "metadata", "condition"),
    [
        ("keep", {}, ("Stalled", "StateUnknown")),
        ("build_status", {}, ("Stalled", "StateUnknown")),
        ("let_go", {"deletionTimestamp": "2026-01-01T00:00:00Z"}, ("Ready", "Deleting")),
    ],
)
async def test_a_pass_that_crashes_for_a_minute_says_so_in_status(
    monkeypatch: pytest.MonkeyPatch, room: str, metadata: dict[str, str], condition: tuple[str, str]
) -> None:
    """Only the log told it: a status of long ago went on saying that all was well."""

    def crash(*_: object) -> float:
        raise ValueError("a password")

    monkeypatch.setattr(converge, room, crash)
    api = There(**metadata)
    operator = Operator(api, SETTINGS)  # type: ignore[arg-type]
    assert await run_pass(operator, "shop", "shop") == CRASHED_SECONDS
    assert told_by(api) == [], "the next pass may see another world"

    for since in operator.failing["shop", "shop"]:
        operator.failing["shop", "shop"][since] -= timedelta(seconds=PASSING_SECONDS)
    assert await run_pass(operator, "shop", "shop") == CRASHED_SECONDS
    kind, reason = condition
    told = next(each for each in told_by(api) if each["type"] == kind)
    assert told["reason"] == reason
    assert "ValueError" in told["message"]
    assert "password" not in told["message"]


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_stack_is_known_before_its_services_have_answered(
    monkeypatch: pytest.MonkeyPatch, *, is_paused: bool
) -> None:
    """A successor that begins because a node is lost waits for silent services for seconds, in its very first pass."""

    async def wait(*_: object) -> None:
        raise ApiError(504, "Timeout", "nobody answers yet")

    monkeypatch.setattr(converge, "observe_answers", wait)
    api = There()
    api.live["spec"] = {"paused": is_paused}
    operator = Operator(api, SETTINGS)  # type: ignore[arg-type]
    await run_pass(operator, "shop", "shop")
    known = operator.known["shop", "shop"]
    assert (known.stack.name, known.is_left_alone) == ("shop", is_paused)
    operator.forget("shop", "shop")
    assert operator.known == {}
