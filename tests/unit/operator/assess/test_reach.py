"""Whether what the operator cannot see is told from what is away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from appstack_operator.assess.stack import assess_stack
from appstack_operator.assess.verdict import Reason
from appstack_operator.gates import set_gates
from appstack_operator.observed import (
    Observed,
    PostgresAnswers,
    PostgresMember,
    RabbitmqAnswers,
    RedisAnswers,
    RedisInstance,
    SentinelAnswer,
)
from tests.unit.operator.factories import a_context, a_pod, a_stack
from tests.unit.operator.running import a_running_stack, verdicts, with_object

STACK = a_stack()
LATE: dict[str, Any] = {"error": "no answer within 2 s", "is_late": True}
REFUSED: dict[str, Any] = {"error": "connection refused"}
DATA = ("PostgresReady", "RedisReady", "RabbitMQReady")


def silent(**said: Any) -> Observed:
    """A stack whose pods are all ready, and none of which says anything else than this."""
    members = tuple(PostgresMember(f"shop-postgres-{number}", **said) for number in range(2))
    sentinels = tuple(SentinelAnswer(f"shop-redis-sentinel-{number}", **said) for number in range(3))
    instances = tuple(RedisInstance(f"shop-redis-{number}", **said) for number in range(3))
    redis = RedisAnswers(sentinels, instances)
    return a_running_stack(STACK, postgres=PostgresAnswers(members), redis=redis, rabbitmq=RabbitmqAnswers(**said))


def test_what_the_operator_cannot_reach_is_unknown() -> None:
    found = verdicts(STACK, silent(**LATE))
    for name in (*DATA, "Ready", "HighlyAvailable"):
        assert (found[name].status, found[name].reason) == ("Unknown", Reason.PODS_UNREACHABLE), name
    assert "shop-postgres-0, shop-postgres-1 are ready" in found["Ready"].message
    assert "Stalled" not in found


def test_from_ignorance_no_gate_is_opened() -> None:
    closed = set_gates(assess_stack(STACK, silent(**LATE), a_context())).closed
    assert [stage.name for stage in closed] == ["MIGRATIONS", "BACKEND", "CRON_JOBS"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"postgres": PostgresAnswers((PostgresMember("shop-postgres-0", **REFUSED),))}, id="one refuses"),
        pytest.param({"rabbitmq": RabbitmqAnswers(**REFUSED)}, id="the brokers refuse"),
        pytest.param(
            {"redis": RedisAnswers((), (RedisInstance("shop-redis-0", role="master"),))}, id="somebody answers"
        ),
    ],
)
def test_who_reaches_anybody_judges_all(change: dict[str, Any]) -> None:
    found = verdicts(STACK, replace(silent(**LATE), **change))
    assert {found[name].status for name in (*DATA, "Ready")} == {"False"}


def test_who_refuses_is_away() -> None:
    found = verdicts(STACK, silent(**REFUSED))
    assert {found[name].status for name in (*DATA, "Ready")} == {"False"}


def test_what_kubelet_finds_away_is_away() -> None:
    seen = silent(**LATE)
    for number in range(2):
        seen = with_object(seen, a_pod(STACK, "postgres", number, ready=False))
    found = verdicts(STACK, seen)
    assert (found["PostgresReady"].status, found["RedisReady"].status) == ("False", "Unknown")
    assert found["Ready"].status == "False"
    api_is_away = silent(**LATE)
    for number in range(2):
        api_is_away = with_object(api_is_away, a_pod(STACK, "api", number, ready=False))
    assert verdicts(STACK, api_is_away)["Ready"].status == "False"


def test_one_pod_that_crashes_does_not_tell_that_nobody_is_served() -> None:
    waiting = {"name": "postgres", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 5}
    crashed = a_pod(STACK, "postgres", 1, ready=False, containerStatuses=[waiting])
    found = verdicts(STACK, with_object(silent(**LATE), crashed))
    assert (found["PostgresReady"].status, found["PostgresReady"].reason) == ("False", Reason.CRASH_LOOPING)
    assert found["Ready"].status == "Unknown"
