"""What is said about pods that cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.pods import pods_can_run
from appstack_operator.assess.verdict import Reason
from tests.unit.operator.factories import a_pod, a_stack, observed

if TYPE_CHECKING:
    from appstack_operator.objects import Object

STACK = a_stack()


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    status = {"name": "api", "image": "own:1", "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {"containerStatuses": [status]}


ENDED = {"terminated": {"exitCode": 3, "reason": "Error", "message": "first line\nno such table"}}
UNSCHEDULABLE = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: cpu"}]


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (waiting("ImagePullBackOff", "manifest unknown"), Reason.IMAGE_PULL_FAILED, ["own:1", "manifest unknown"]),
        (waiting("CrashLoopBackOff", lastState=ENDED), Reason.CRASH_LOOPING, ["exit code 3", "no such table"]),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), Reason.SECRET_MISSING, ['secret "x"']),
        ({"conditions": UNSCHEDULABLE}, Reason.POD_UNSCHEDULABLE, ["0/3 nodes: cpu"]),
    ],
)
def test_the_cause_and_the_pod_are_named(status: dict[str, Any], reason: Reason, words: list[str]) -> None:
    pod = a_pod(STACK, "api", ready=False, **status)
    verdict = pods_can_run([pod], observed(pod))
    assert verdict is not None
    assert verdict.reason is reason
    for word in ["shop-api-0", *words]:
        assert word in verdict.message


def test_a_pod_that_is_starting_is_no_trouble() -> None:
    pod = a_pod(STACK, "api", ready=False, **waiting("ContainerCreating"))
    assert pods_can_run([pod], observed(pod)) is None


def a_pod_and_its_pending_claim(made_at: str) -> tuple[Object, Object]:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-shop-postgres-1"}}]
    pod = a_pod(STACK, "postgres", 1, ready=False, volumes=volumes)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-shop-postgres-1", "labels": {}, "creationTimestamp": made_at},
        "spec": {"storageClassName": "fast"},
        "status": {"phase": "Pending"},
    }
    return pod, claim


def test_a_pending_volume_is_named_with_its_class() -> None:
    pod, claim = a_pod_and_its_pending_claim("2026-01-01T11:59:00Z")
    verdict = pods_can_run([pod], observed(pod, claim))
    assert verdict is not None
    assert verdict.reason is Reason.VOLUME_PENDING
    assert "data-shop-postgres-1" in verdict.message
    assert "fast" in verdict.message


def test_a_volume_gets_the_time_that_its_making_takes() -> None:
    pod, claim = a_pod_and_its_pending_claim("2026-01-01T11:59:55Z")
    assert pods_can_run([pod], observed(pod, claim)) is None
