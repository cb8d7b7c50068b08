"""When a schedule was due last, and that a run which did not start is missed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appstack_operator.assess.backend import assess_cron_jobs
from appstack_operator.assess.schedule import last_due
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.cronjobs import build_cron_jobs
from appstack_operator.moments import moments_of
from tests.unit.operator.factories import NOW, a_context, a_stack, made, observed

THURSDAY = datetime(2026, 1, 1, 12, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "due"),
    [
        pytest.param("*/5 * * * *", "Etc/UTC", "2026-01-01T12:05", id="every five minutes"),
        pytest.param("17 * * * *", "Etc/UTC", "2026-01-01T11:17", id="the hour before"),
        pytest.param("0 3 * * *", "Europe/Berlin", "2026-01-01T02:00", id="another zone"),
        pytest.param("0 3 * * mon-fri", "Etc/UTC", "2026-01-01T03:00", id="names and ranges"),
        pytest.param("0 3 * * 7", "Etc/UTC", "2025-12-28T03:00", id="7 is Sunday"),
        pytest.param("0 3 13 * fri", "Etc/UTC", "2025-12-26T03:00", id="one of both days is enough"),
        pytest.param("0 3 13 * *", "Etc/UTC", "2025-12-13T03:00", id="a day of the month"),
        pytest.param(
            "0 3 */2 * fri", "Etc/UTC", "2026-01-01T03:00", id="every second day is a limit, and one of both is enough"
        ),
        pytest.param("0 3 */1 * fri", "Etc/UTC", "2025-12-26T03:00", id="every day is none"),
        pytest.param("0 3 13,* * fri", "Etc/UTC", "2025-12-26T03:00", id="a star among others is none either"),
        pytest.param("0 0 29 feb *", "Etc/UTC", "2024-02-29T00:00", id="a leap day"),
        pytest.param("10-50/20 9,11 * * *", "Etc/UTC", "2026-01-01T11:50", id="steps and lists"),
        pytest.param("@daily", "Etc/UTC", "2026-01-01T00:00", id="a macro"),
    ],
)
def test_the_last_due_moment(schedule: str, zone: str, due: str) -> None:
    assert last_due(schedule, zone, THURSDAY) == datetime.fromisoformat(f"{due}:00+00:00")


def test_a_moment_that_clocks_jump_over_is_not_due() -> None:
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert last_due("30 2 * * *", "Europe/Berlin", noon) == datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    assert last_due("30 2 * * *", "Europe/Berlin", noon + timedelta(days=1)) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("schedule", ["@every 1h", "nonsense", "61 * * * *", "0 0 31 2 *"])
def test_what_cannot_be_told_is_not_guessed(schedule: str) -> None:
    assert last_due(schedule, "Etc/UTC", THURSDAY) is None


def test_an_unknown_zone_is_not_guessed() -> None:
    assert last_due("* * * * *", "Mars/Olympus", THURSDAY) is None


def assessed(job: dict[str, Any], age_seconds: float, **status: Any) -> Verdict:
    """A job every hour at :00, seen at 12:00 and some seconds."""
    stack = a_stack(cronJobs=[{"name": "nightly", "schedule": "0 * * * *", "startingDeadlineSeconds": 300, **job}])
    (manifest,) = build_cron_jobs(stack, a_context())
    live = made(stack, manifest, **status)
    live["metadata"]["creationTimestamp"] = (NOW - timedelta(seconds=age_seconds)).isoformat()
    return assess_cron_jobs(stack, observed(live))


def test_a_run_that_did_not_start_is_missed() -> None:
    verdict = assessed({}, 86400, lastScheduleTime="2026-01-01T10:00:00Z", active=[{}])
    assert verdict.reason is Reason.CRON_JOB_MISSED
    assert "CronJob shop-nightly did not start its run of 2026-01-01T11:00Z" in verdict.message
    assert "still runs" in verdict.message


@pytest.mark.parametrize(
    ("job", "age_seconds", "started"),
    [
        pytest.param({}, 86400, "2026-01-01T11:00:00Z", id="started"),
        pytest.param({"suspend": True}, 86400, "2026-01-01T10:00:00Z", id="suspended"),
        pytest.param({}, 1800, None, id="made after the last moment"),
        pytest.param({"startingDeadlineSeconds": 7200}, 86400, "2026-01-01T09:00:00Z", id="may still start"),
    ],
)
def test_a_run_that_is_not_overdue_is_not_missed(job: dict[str, Any], age_seconds: float, started: str | None) -> None:
    assert assessed(job, age_seconds, lastScheduleTime=started).is_true


def test_a_changed_schedule_owes_nothing_from_before_also_in_the_looks_between_passes() -> None:
    """They have no managedFields any more: once, such a stack was looked at as a whole every few seconds."""
    stack = a_stack(cronJobs=[{"name": "nightly", "schedule": "0 * * * *"}])
    (manifest,) = build_cron_jobs(stack, a_context())
    live = made(stack, manifest, lastScheduleTime="2026-01-01T09:00:00Z")
    live["metadata"]["creationTimestamp"] = "2025-12-01T00:00:00Z"
    (entry,) = live["metadata"]["managedFields"]
    entry["time"] = "2026-01-01T11:30:00Z"
    seen = observed(live)
    assert assess_cron_jobs(stack, seen).reason is Reason.CRON_JOB_MISSED, "the change is what counts here"
    in_the_pass = replace(seen, moments=moments_of(seen.objects))
    assert assess_cron_jobs(stack, in_the_pass).is_true
    del live["metadata"]["managedFields"]
    assert assess_cron_jobs(stack, replace(observed(live), moments=in_the_pass.moments)).is_true
