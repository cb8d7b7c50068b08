"""What is said about pods that cannot run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.api import AppStack
from appstack_operator.assess.pods import pods_can_run
from appstack_operator.assess.stateful import pods_can_start
from appstack_operator.assess.verdict import Reason
from appstack_operator.desired.redis import build_redis
from appstack_operator.moments import moments_of
from tests.unit.operator.factories import NOW, a_context, a_pod, a_stack, made, observed, pods

if TYPE_CHECKING:
    from appstack_operator.objects import Object
    from appstack_operator.observed import Observed

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
        (
            waiting("CreateContainerConfigError", 'configmap "x" not found'),
            Reason.CONFIG_MAP_MISSING,
            ['configmap "x"'],
        ),
        (
            waiting("CreateContainerConfigError", "couldn't find key tone in ConfigMap shop/theirs"),
            Reason.CONFIG_MAP_MISSING,
            ["container api of pod", "key tone in ConfigMap shop/theirs"],
        ),
        (
            waiting("CreateContainerConfigError", "couldn't find key token in Secret shop/theirs"),
            Reason.SECRET_INVALID,
            ["key token in Secret shop/theirs"],
        ),
        (waiting("CreateContainerConfigError", "image runs as root"), Reason.CRASH_LOOPING, ["image runs as root"]),
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
    verdict = pods_can_run([pod], observed(pod, claim, events={("PersistentVolumeClaim", CLAIM): events}))
    assert verdict is not None
    assert verdict.reason is Reason.VOLUME_PENDING
    assert verdict.message == f"PersistentVolumeClaim data-shop-postgres-1 is Pending: {cause}"


def test_a_claim_that_cannot_be_had_is_the_cause_of_a_pod_without_a_node() -> None:
    pod, claim = a_pod_and_its_pending_claim(conditions=UNSCHEDULABLE)
    verdict = pods_can_run([pod], observed(pod, claim, events={("PersistentVolumeClaim", CLAIM): [ABSENT]}))
    assert verdict is not None
    assert verdict.reason is Reason.VOLUME_PENDING


def test_a_claim_that_waits_for_a_node_is_no_cause() -> None:
    pod, claim = a_pod_and_its_pending_claim(conditions=UNSCHEDULABLE)
    verdict = pods_can_run([pod], observed(pod, claim))
    assert verdict is not None
    assert verdict.reason is Reason.POD_UNSCHEDULABLE


@pytest.mark.parametrize(("made_at", "is_told"), [("2026-01-01T11:59:55Z", False), ("2026-01-01T11:59:30Z", True)])
def test_a_scheduler_gets_the_time_to_hear_of_a_new_claim(made_at: str, is_told: bool) -> None:
    said = f'0/3 nodes are available: persistentvolumeclaim "{CLAIM}" not found. not found'
    pod, claim = a_pod_and_its_pending_claim(made_at, conditions=[{**UNSCHEDULABLE[0], "message": said}])
    pod["metadata"]["creationTimestamp"] = made_at
    verdict = pods_can_run([pod], observed(pod, claim))
    assert (verdict is not None and verdict.reason is Reason.POD_UNSCHEDULABLE) is is_told


def test_a_volume_gets_the_time_that_its_making_takes() -> None:
    pod, claim = a_pod_and_its_pending_claim("2026-01-01T11:59:55Z")
    assert pods_can_run([pod], observed(pod, claim)) is None


def test_a_slow_disk_about_which_nobody_complains_gets_two_minutes() -> None:
    pod, claim = a_pod_and_its_pending_claim("2026-01-01T11:58:30Z")
    assert pods_can_run([pod], observed(pod, claim)) is None
    told = pods_can_run([pod], observed(pod, claim, events={("PersistentVolumeClaim", CLAIM): [ABSENT]}))
    assert told is not None
    assert told.reason is Reason.VOLUME_PENDING


def a_look(created: int, there: int, *, generation: int = 1, age_seconds: float = 60) -> Observed:
    """The Redis members: how many the StatefulSet's controller counted that long ago, and how many are there."""
    wanted = next(each for each in build_redis(STACK, a_context()) if is_members(each))
    live = made(STACK, wanted, replicas=created, observedGeneration=1)
    live["metadata"]["generation"] = generation
    counted = {"subresource": "status", "fieldsV1": {"f:status": {}}}
    counted |= {"time": (NOW - timedelta(seconds=age_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    live["metadata"]["managedFields"].append(counted)
    seen = observed(live, *pods(STACK, "redis", there))
    return replace(seen, moments=moments_of(seen.objects))


def is_members(manifest: Object) -> bool:
    return (manifest["kind"], manifest["metadata"]["name"]) == ("StatefulSet", "shop-redis")


def test_a_pod_that_a_stateful_set_may_not_create_is_named() -> None:
    verdict = pods_can_start(STACK, "redis", a_look(created=2, there=2))
    assert verdict is not None
    assert verdict.reason is Reason.POD_REFUSED
    assert verdict.message == (
        "StatefulSet shop-redis cannot create shop-redis-2: its events of reason FailedCreate say why"
    )


def test_why_a_pod_is_refused_is_told_in_the_api_servers_words() -> None:
    preface = "create Pod shop-redis-2 in StatefulSet shop-redis failed error: "
    told = [
        event(
            "FailedCreate", f'{preface}pods "shop-redis-2" is forbidden: exceeded quota: few', "2026-01-01T11:59:00Z"
        ),
        event("FailedCreate", f"{preface}something before", "2026-01-01T11:58:00Z"),
        event("SuccessfulCreate", "create Pod shop-redis-1 in StatefulSet shop-redis successful"),
    ]
    verdict = pods_can_start(
        STACK, "redis", replace(a_look(created=2, there=2), events={("StatefulSet", "shop-redis"): told})
    )
    assert verdict is not None
    assert verdict.message.endswith(
        ' cannot create shop-redis-2: pods "shop-redis-2" is forbidden: exceeded quota: few'
    )


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(a_look(created=3, there=3), id="all are there"),
        pytest.param(a_look(created=3, there=2), id="one has just gone"),
        pytest.param(a_look(created=2, there=3), id="one has just come"),
        pytest.param(a_look(created=2, there=2, age_seconds=2), id="one is just being made"),
        pytest.param(a_look(created=1, there=1, generation=2), id="the controller has not looked at the new number"),
    ],
)
def test_a_pod_that_comes_or_goes_was_not_refused(seen: Observed) -> None:
    assert pods_can_start(STACK, "redis", seen) is None


def of_a_new_spec(seen: Observed) -> Observed:
    """The same, but the stack's spec was changed five minutes ago."""
    return replace(seen, moments={**seen.moments, ("AppStack", "shop"): NOW - timedelta(minutes=5)})


def test_an_autoscaler_of_the_stack_gives_a_rollout_no_more_time() -> None:
    applied = {"manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}}
    scaled = {**applied, "manager": "autoscaler", "subresource": "scale", "time": "2026-01-02T00:00:00Z"}
    stack = {"metadata": {"managedFields": [applied, scaled]}}
    (moment,) = moments_of({"AppStack": {"shop": stack}}).values()
    assert moment.day == 1


def a_late_pod(seconds: float, **status: Any) -> Observed:
    """A Redis that has not been ready for that long."""
    since = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": since}
    return observed(a_pod(STACK, "redis", **status, conditions=[condition]))


RESTARTED = {"name": "redis", "state": {"running": {}}, "restartCount": 3, "lastState": ENDED}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(a_late_pod(700, **waiting("ImagePullBackOff", "unknown")), "image own:1 of pod", id="no image"),
        pytest.param(a_late_pod(700, containerStatuses=[RESTARTED]), "no such table", id="between two crashes"),
        pytest.param(a_look(created=2, there=2, age_seconds=700), "cannot create shop-redis-2", id="refused"),
    ],
)
def test_what_keeps_a_rollout_of_a_data_service_for_too_long_makes_it_stuck(seen: Observed, words: str) -> None:
    verdict = pods_can_start(STACK, "redis", seen)
    assert verdict is not None
    assert verdict.is_stuck
    assert words in verdict.message


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(a_late_pod(500, **waiting("ImagePullBackOff")), id="not for long"),
        pytest.param(a_late_pod(700, **waiting("ContainerCreating")), id="for no known cause: a copy takes its time"),
        pytest.param(a_late_pod(700, containerStatuses=[RESTARTED | {"restartCount": 1}]), id="crashed once"),
        pytest.param(a_look(created=2, there=2), id="refused a minute ago"),
        pytest.param(of_a_new_spec(a_late_pod(700, **waiting("ImagePullBackOff"))), id="late by a former spec"),
        pytest.param(of_a_new_spec(a_look(created=2, there=2, age_seconds=700)), id="refused by a former spec"),
    ],
)
def test_a_data_service_gets_its_time(seen: Observed) -> None:
    verdict = pods_can_start(STACK, "redis", seen)
    assert verdict is None or not verdict.is_stuck


def test_what_befalls_a_complete_stack_is_an_outage_and_no_rollout_that_is_stuck() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Healthy", "message": "", "observedGeneration": 1}
    status = {"conditions": [ready | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    complete = AppStack.model_validate({"metadata": STACK.metadata.model_dump(by_alias=True), "status": status})
    verdict = pods_can_start(complete, "redis", a_late_pod(700, **waiting("ImagePullBackOff")))
    assert verdict is not None
    assert not verdict.is_stuck
