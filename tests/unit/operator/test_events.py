"""Events tell what has changed, once."""

from __future__ import annotations

from appstack_operator.api.status import Condition
from appstack_operator.events import build_events
from tests.unit.operator.factories import NOW, a_stack

STACK = a_stack()


def a_condition(
    kind: str = "PostgresReady", status: str = "True", reason: str = "Healthy", message: str = ""
) -> Condition:
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_transition_time="2026-01-01T00:00:00Z"
    )


def told(before: list[Condition], after: list[Condition]) -> list[tuple[str, str, str]]:
    """(condition, reason, type) of each event."""
    events = build_events(STACK, before, after, NOW)
    return [(event["action"], event["reason"], event["type"]) for event in events]


def test_a_new_status_is_told() -> None:
    lost = a_condition(status="False", reason="NoPrimary")
    assert told([a_condition()], [lost]) == [("PostgresReady", "NoPrimary", "Warning")]
    assert told([lost], [a_condition()]) == [("PostgresReady", "Healthy", "Normal")]


def test_another_message_alone_is_not_told() -> None:
    assert told([a_condition(message="2 replicas")], [a_condition(message="1 replica")]) == []


def test_the_first_steps_of_a_stack_are_not_told() -> None:
    assert told([], [a_condition(status="False", reason="Creating")]) == []


def test_high_availability_is_not_told_while_it_repeats_ready() -> None:
    after = [a_condition(kind, "False", "NoPrimary") for kind in ("Ready", "HighlyAvailable")]
    assert told([], after) == [("Ready", "NoPrimary", "Warning")]


def test_to_be_stalled_is_a_warning() -> None:
    assert told([], [a_condition("Stalled", "True", "MigrationFailed")]) == [("Stalled", "MigrationFailed", "Warning")]


def test_an_event_fits_into_what_kubernetes_accepts() -> None:
    (event,) = build_events(STACK, [], [a_condition(message="x" * 5000)], NOW)
    assert len(event["note"]) <= 1024
    assert event["metadata"]["namespace"] == event["regarding"]["namespace"]
