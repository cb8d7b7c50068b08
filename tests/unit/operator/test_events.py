"""Events tell what has changed, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from appstack_operator.api.status import Condition
from appstack_operator.events import PASSED_THROUGH, build_events
from tests.unit.operator.factories import NOW, a_stack

if TYPE_CHECKING:
    from appstack_operator.assess.verdict import Reason

STACK = a_stack()


def a_condition(
    kind: str = "PostgresReady", status: str = "True", reason: str = "Healthy", message: str = "", generation: int = 1
) -> Condition:
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time="2026-01-01T00:00:00Z",
        observed_generation=generation,
    )


READY = a_condition("Ready")
NEVER_READY = a_condition("Ready", "False", "Creating", generation=0)


def told(before: list[Condition], after: list[Condition]) -> list[tuple[str, str, str]]:
    """(condition, reason, type) of each event."""
    events = build_events(STACK, before, after, NOW)
    return [(event["action"], event["reason"], event["type"]) for event in events]


def test_a_new_status_is_told() -> None:
    lost = a_condition(status="False", reason="NoPrimary")
    assert told([READY, a_condition()], [READY, lost]) == [("PostgresReady", "NoPrimary", "Warning")]
    assert told([lost], [a_condition()]) == [("PostgresReady", "Healthy", "Normal")]


def test_another_message_alone_is_not_told() -> None:
    assert told([a_condition(message="2 replicas")], [a_condition(message="1 replica")]) == []


def test_the_first_steps_of_a_stack_are_not_told() -> None:
    assert told([], [a_condition(status="False", reason="Creating")]) == []


def test_high_availability_is_not_told_while_it_repeats_ready() -> None:
    after = [a_condition(kind, "False", "NoPrimary") for kind in ("Ready", "HighlyAvailable")]
    assert told([READY], after) == [("Ready", "NoPrimary", "Warning")]


@pytest.mark.parametrize("reason", sorted(PASSED_THROUGH))
def test_what_a_start_passes_through_is_no_warning_until_the_stack_was_complete(reason: Reason) -> None:
    bad = a_condition(status="False", reason=reason)
    assert told([NEVER_READY], [NEVER_READY, bad]) == [("PostgresReady", reason, "Normal")]
    assert told([READY], [READY, bad]) == [("PostgresReady", reason, "Warning")]


def test_work_under_way_is_never_a_warning() -> None:
    running = a_condition("MigrationsApplied", "False", "MigrationRunning")
    assert told([READY], [READY, running]) == [("MigrationsApplied", "MigrationRunning", "Normal")]


@pytest.mark.parametrize("reason", ["CrashLooping", "ImagePullFailed", "PodUnschedulable", "SecretMissing"])
def test_what_needs_a_person_is_a_warning_from_the_beginning(reason: str) -> None:
    bad = a_condition("APIReady", "False", reason)
    assert told([NEVER_READY], [NEVER_READY, bad]) == [("APIReady", reason, "Warning")]


def test_to_be_stalled_is_a_warning() -> None:
    assert told([], [a_condition("Stalled", "True", "MigrationFailed")]) == [("Stalled", "MigrationFailed", "Warning")]


def test_an_event_fits_into_what_kubernetes_accepts() -> None:
    (event,) = build_events(STACK, [], [a_condition(message="x" * 5000)], NOW)
    assert len(event["note"]) <= 1024
    assert event["metadata"]["namespace"] == event["regarding"]["namespace"]
