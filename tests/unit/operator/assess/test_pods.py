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
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "own:1": ErrImagePull: manifest unknown'),
            Reason.IMAGE_PULL_FAILED,
            ["image own:1 of pod shop-api-0 cannot be pulled: manifest unknown"],
        ),
        (waiting("ErrImagePull"), Reason.IMAGE_PULL_FAILED, ["cannot be pulled: ErrImagePull"]),
        (
            waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            Reason.CRASH_LOOPING,
            ["container api of pod", "exit code 137 (OOMKilled)"],
        ),
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


def a_pod_and_its_pending_claim(made_at: str = "2026-01-01T11:59:00Z", **status: Any) -> tuple[Object, Object]:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}]
    pod = a_pod(STACK, "postgres", 1, ready=False, volumes=volumes, **status)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "labels": {}, "creationTimestamp": made_at},
        "spec": {"storageClassName": "fast"},
        "status": {"phase": "Pending"},
    }
    return pod, claim


CLAIM = "data-shop-postgres-1"


def event(reason: str, note: str, at: str = "2026-01-01T11:59:50Z", kind: str = "Warning") -> Object:
    return {"type": kind, "reason": reason, "note": note, "deprecatedLastTimestamp": at, "metadata": {}}


ABSENT = event("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found')


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        pytest.param([], "no volume of storage class 'fast' yet", id="nothing is told"),
        pytest.param([ABSENT], "no storage class 'fast'", id="the class does not exist"),
        pytest.param(
            [event("ProvisioningFailed", "quota\n  exceeded")], "quota exceeded", id="the provisioner's words"
        ),
        pytest.param(
            [event("ProvisioningFailed", "disk full", "2026-01-01T11:59:55Z"), ABSENT], "disk full", id="the newest"
        ),
        pytest.param(
            [event("FailedBinding", "no storage class is set", kind="Normal")],
            "no storage class is set",
            id="no default",
        ),
        pytest.param(
            [event("ProvisioningFailed", "disk full", "2026-01-01T11:00:00Z")],
            "no volume of storage class 'fast' yet",
            id="what is long over counts no more",
        ),
        pytest.param(
            [event("ExternalProvisioning", "waiting", kind="Normal")],
            "no volume of storage class 'fast' yet",
            id="what is usual is no cause",
        ),
    ],
)
def test_a_pending_volume_is_named_with_its_cause(events: list[Object], cause: str) -> None:
    pod, claim = a_pod_and_its_pending_claim("2026-01-01T11:57:00Z")
    verdict = pods_can_run([pod], observed(pod, claim, claim_events={CLAIM: events}))
    assert verdict is not None
    assert verdict.reason is Reason.VOLUME_PENDING
    assert verdict.message == f"PersistentVolumeClaim data-shop-postgres-1 is Pending: {cause}"


def test_a_claim_that_cannot_be_had_is_the_cause_of_a_pod_without_a_node() -> None:
    pod, claim = a_pod_and_its_pending_claim(conditions=UNSCHEDULABLE)
    verdict = pods_can_run([pod], observed(pod, claim, claim_events={CLAIM: [ABSENT]}))
    assert verdict is not None
    assert verdict.reason is Reason.VOLUME_PENDING


def test_a_claim_that_waits_for_a_node_is_no_cause() -> None:
    pod, claim = a_pod_and_its_pending_claim(conditions=UNSCHEDULABLE)
    verdict = pods_can_run([pod], observed(pod, claim))
    assert verdict is not None
    assert verdict.reason is Reason.POD_UNSCHEDULABLE


def test_a_volume_gets_the_time_that_its_making_takes() -> None:
    pod, claim = a_pod_and_its_pending_claim("2026-01-01T11:59:55Z")
    assert pods_can_run([pod], observed(pod, claim)) is None


def test_a_slow_disk_about_which_nobody_complains_gets_two_minutes() -> None:
    pod, claim = a_pod_and_its_pending_claim("2026-01-01T11:58:30Z")
    assert pods_can_run([pod], observed(pod, claim)) is None
    told = pods_can_run([pod], observed(pod, claim, claim_events={CLAIM: [ABSENT]}))
    assert told is not None
    assert told.reason is Reason.VOLUME_PENDING
