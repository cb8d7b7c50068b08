"""Events tell what has changed, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from appstack_operator.api import AppStack
from appstack_operator.api.status import Condition
from appstack_operator.events import PASSED_THROUGH, build_events, build_ignored
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


@pytest.mark.parametrize("words", ["Datenbank läuft über ", "データベースがいっぱいです"])
def test_an_event_fits_also_where_its_words_are_no_ascii(words: str) -> None:
    """Kubernetes counts bytes: the last words of a program in another language were told to nobody."""
    (event,) = build_events(STACK, [READY], [a_condition("Ready", "False", "NoPrimary", words * 100)], NOW)
    assert 1020 < len(event["note"].encode()) <= 1024
    assert event["note"].startswith(f"Ready is False: {words}")


def an_autoscaled_stack(replicas: int = 5, observed_generation: int = 1, *, autoscaled: bool = True) -> AppStack:
    """Generation 2 of a stack whose API an autoscaler looks after."""
    api = {"replicas": replicas, "autoscaling": {"minReplicas": 2, "maxReplicas": 4} if autoscaled else None}
    return AppStack.model_validate(
        {
            "metadata": {"name": "shop", "namespace": "shop", "generation": 2},
            "spec": {"backend": {"api": api}},
            "status": {"observedGeneration": observed_generation},
        }
    )


@pytest.mark.parametrize(
    "former",
    [
        pytest.param(None, id="a stack seen for the first time"),
        pytest.param(an_autoscaled_stack(autoscaled=False), id="autoscaling was turned on"),
        pytest.param(an_autoscaled_stack(replicas=3), id="the number was changed, by kubectl scale perhaps"),
    ],
)
def test_a_number_of_api_pods_that_does_nothing_is_told(former: AppStack | None) -> None:
    (event,) = build_ignored(an_autoscaled_stack(), former, NOW)
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "ReplicasIgnored", "APIReady")
    assert "spec.backend.api.replicas (5) is ignored" in event["note"]
    assert "2 to 4" in event["note"]


@pytest.mark.parametrize(
    ("stack", "former"),
    [
        pytest.param(an_autoscaled_stack(autoscaled=False), None, id="the number counts"),
        pytest.param(an_autoscaled_stack(observed_generation=2), None, id="it was told before a restart"),
        pytest.param(an_autoscaled_stack(), an_autoscaled_stack(), id="something else was changed"),
    ],
)
def test_it_is_told_once_and_only_where_it_is_so(stack: AppStack, former: AppStack | None) -> None:
    assert list(build_ignored(stack, former, NOW)) == []
