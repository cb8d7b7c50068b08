"""Verdicts about the user's code: its migrations, its API's autoscaler, its pools of workers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.api import AppStack
from appstack_operator.assess.conditions import Work, headline
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.stack import build_stack
from appstack_operator.observed import RedisAnswers
from tests.unit.operator.factories import NOW, a_context, a_pod, a_stack, made
from tests.unit.operator.running import FAILED, a_running_stack, status_of, the_job, verdicts, with_object, without_pods

if TYPE_CHECKING:
    from appstack_operator.objects import Object
    from appstack_operator.observed import Observed


NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}


@pytest.mark.parametrize(
    ("age_seconds", "status", "reason"),
    [
        pytest.param(60, {}, Reason.POD_REFUSED, id="no pod for a minute"),
        pytest.param(5, {}, Reason.MIGRATION_RUNNING, id="it has just begun"),
        pytest.param(60, {"active": 1}, Reason.MIGRATION_RUNNING, id="its pod is only not seen yet"),
        pytest.param(60, {"failed": 1}, Reason.MIGRATION_RUNNING, id="between two tries"),
    ],
)
def test_a_migration_without_a_pod_does_not_run(age_seconds: int, status: dict[str, Any], reason: Reason) -> None:
    stack = a_stack()
    started = (NOW - timedelta(seconds=age_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    job = the_job(stack, startTime=started, **status)
    applied = verdicts(stack, with_object(a_running_stack(stack), job))["MigrationsApplied"]
    assert (applied.status, applied.reason) == ("False", reason)
    assert job["metadata"]["name"] in applied.message


def test_a_failed_migration_leaves_the_stack_ready_and_stalled() -> None:
    stack = a_stack()
    seen = with_object(a_running_stack(stack), the_job(stack, **FAILED))
    found = verdicts(stack, seen)
    assert found["Ready"].is_true
    assert found["MigrationsApplied"].reason is Reason.MIGRATION_FAILED
    assert found["Stalled"].reason is Reason.MIGRATION_FAILED
    assert headline(found).reason is Reason.MIGRATION_FAILED


POOL = {"name": "bulk", "queues": ["bulk"], "autoscaling": {"minReplicas": 0, "maxReplicas": 4}}
REFUSED = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}


def a_first_worker(stack: AppStack, age_seconds: float, *, waiting: int | None, **container: Any) -> Observed:
    """A pool that had no workers is to have one, whose pod is not ready."""
    pods = [a_pod_of(stack, "shop-worker-bulk", "worker-bulk", **container)] if container else []
    for pod in pods:
        made_at = NOW - timedelta(seconds=age_seconds)
        pod["metadata"]["creationTimestamp"] = made_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    seen = without_pods(a_running_stack(stack), "worker-bulk")
    deployment = seen.get("Deployment", "shop-worker-bulk")
    assert deployment is not None
    one = deployment | {"spec": {**deployment["spec"], "replicas": 1}, "status": {} if pods else REFUSED}
    seen = replace(seen, rabbitmq=replace(seen.rabbitmq, backlog={"bulk": waiting}))
    for obj in (one, *pods):
        seen = with_object(seen, obj)
    return seen


STARTING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


@pytest.mark.parametrize(
    ("age_seconds", "waiting", "container", "is_ready"),
    [
        pytest.param(20, 9, STARTING, True, id="it has just been asked for"),
        pytest.param(90, 9, STARTING, False, id="it does not come"),
        pytest.param(90, None, STARTING, False, id="nobody knows how much waits"),
        pytest.param(90, 0, STARTING, True, id="nothing waits any more"),
        pytest.param(20, 9, {"state": NO_IMAGE}, False, id="it cannot come"),
        pytest.param(20, 9, {}, False, id="it is refused"),
    ],
)
def test_work_that_waits_for_a_first_worker_in_vain_is_an_outage(
    age_seconds: float, waiting: int | None, container: dict[str, Any], *, is_ready: bool
) -> None:
    stack = a_stack(backend={"image": "shop:1", "workers": [POOL]})
    found = verdicts(stack, a_first_worker(stack, age_seconds, waiting=waiting, **container))
    assert found["Ready"].is_true == is_ready
    if not is_ready:
        assert found["Ready"].message == found["WorkersReady"].message


def without_job(seen: Observed) -> Observed:
    return replace(seen, objects={**seen.objects, "Job": {}})


def test_a_migration_that_waits_says_what_for() -> None:
    stack = a_stack()
    seen = without_job(a_running_stack(stack))
    assert verdicts(stack, seen)["MigrationsApplied"].message.endswith("has not been started")

    no_redis = replace(seen, redis=RedisAnswers())
    said = verdicts(stack, no_redis)["MigrationsApplied"].message
    assert f"; it waits for RedisReady: {verdicts(stack, no_redis)['RedisReady'].message}" in said

    former = a_pod_of(stack, "shop-migrate-0123456789", "migrate") | {"status": {"phase": "Running"}}
    said = verdicts(stack, with_object(seen, former))["MigrationsApplied"].message
    expected = "the end of pod shop-migrate-0123456789-x of an earlier migration, which is Running on node node-0"
    assert said.endswith(f"; it waits for {expected}")


def with_condition(stack: AppStack, kind: str, verdict: Verdict) -> AppStack:
    """The stack, of which the last pass said this."""
    told = {"type": kind, "status": verdict.status, "reason": verdict.reason, "message": verdict.message}
    status = {"conditions": [told | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    return AppStack.model_validate({**stack.model_dump(by_alias=True), "status": status})


TOO_LATE = {"reason": "DeadlineExceeded", "message": "it was active longer than its deadline", "status": "True"}
TOO_LATE |= {"lastTransitionTime": "2026-01-01T00:00:00Z"}


def a_pod_of(stack: AppStack, job: str, component: str, **container: Any) -> Object:
    """The Pending pod of a Job, made an hour ago."""
    container = {"name": component, "image": "own:2", **container}
    pod = a_pod(stack, component, ready=False, phase="Pending", containerStatuses=[container])
    made_at = (NOW - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    meta = {"name": f"{job}-x", "ownerReferences": [{"name": job}], "creationTimestamp": made_at}
    return pod | {"metadata": {**pod["metadata"], **meta}}


def test_a_migration_whose_time_is_up_keeps_its_cause() -> None:
    stack = a_stack()
    job = the_job(stack)
    name = job["metadata"]["name"]
    running = with_object(a_running_stack(stack), job)
    no_image = verdicts(stack, with_object(running, a_pod_of(stack, name, "migrate", state=NO_IMAGE)))
    assert no_image["MigrationsApplied"].reason is Reason.IMAGE_PULL_FAILED
    told = with_condition(stack, "MigrationsApplied", no_image["MigrationsApplied"])
    for kind in ("FailureTarget", "Failed", "Failed"):  # its pod is gone
        seen = with_object(running, the_job(stack, conditions=[TOO_LATE | {"type": kind}]))
        verdict = verdicts(told, seen)["MigrationsApplied"]
        assert verdict.reason is Reason.MIGRATION_FAILED
        assert verdict.message == (
            f"Job {name} for image backend:1 failed (DeadlineExceeded): "
            f"image own:2 of pod {name}-x cannot be pulled: manifest unknown"
        )
        told = with_condition(stack, "MigrationsApplied", verdict)


def test_the_cause_of_another_migration_is_not_kept() -> None:
    stack = a_stack()
    other = Verdict.false(Reason.IMAGE_PULL_FAILED, "image own:1 of pod shop-migrate-0123456789-x cannot be pulled")
    seen = with_object(a_running_stack(stack), the_job(stack, conditions=[TOO_LATE | {"type": "Failed"}]))
    verdict = verdicts(with_condition(stack, "MigrationsApplied", other), seen)["MigrationsApplied"]
    assert verdict.message.endswith("failed (DeadlineExceeded): it was active longer than its deadline")


def test_a_run_whose_time_is_up_keeps_its_cause() -> None:
    stack = a_stack(backend={"image": "shop:1"}, cronJobs=[{"name": "nightly", "schedule": "0 3 * * *"}])
    labels = {"appstack.dev/stack": "shop", "appstack.dev/component": "cron-nightly"}
    meta = {"name": "shop-nightly-1", "namespace": "shop", "uid": "1", "labels": labels}
    run: Object = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta}
    begun = with_object(a_running_stack(stack), run)
    pod = a_pod_of(stack, "shop-nightly-1", "cron-nightly", state=NO_IMAGE)
    stuck = verdicts(stack, with_object(begun, pod))["CronJobsReady"]
    assert stuck.reason is Reason.IMAGE_PULL_FAILED
    told = with_condition(stack, "CronJobsReady", stuck)
    for _ in range(2):
        seen = with_object(begun, run | {"status": {"conditions": [TOO_LATE | {"type": "Failed"}]}})
        verdict = verdicts(told, seen)["CronJobsReady"]
        assert verdict.message == (
            "Job shop-nightly-1 of CronJob nightly failed: "
            "image own:2 of pod shop-nightly-1-x cannot be pulled: manifest unknown"
        )
        told = with_condition(stack, "CronJobsReady", verdict)


LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
CRASHED = {"terminated": {"exitCode": 3, "message": "no such table"}}
BETWEEN_CRASHES = {"state": {"running": {}}, "restartCount": 7, "lastState": CRASHED}


def a_late_rollout(stack: AppStack, deadline: Object, **container: Any) -> Observed:
    """A third API pod, of a new template, does not become ready."""
    seen = a_running_stack(stack)
    deployment = seen.get("Deployment", "shop-api")
    assert deployment is not None
    status = deployment["status"] | {"updatedReplicas": 1, "conditions": [deadline]}
    pod = a_pod(stack, "api", 9, ready=False, containerStatuses=[{"name": "api", "image": "own:2", **container}])
    return with_object(with_object(seen, deployment | {"status": status}), pod)


@pytest.mark.parametrize(
    ("container", "reason", "words"),
    [
        pytest.param({"state": NO_IMAGE}, Reason.IMAGE_PULL_FAILED, "image own:2 of pod shop-api-9", id="no image"),
        pytest.param(BETWEEN_CRASHES, Reason.CRASH_LOOPING, "no such table", id="between two crashes"),
        pytest.param({"state": {"running": {}}}, Reason.ROLLOUT_STUCK, "still do", id="for no known cause"),
    ],
)
def test_a_rollout_whose_deadline_is_over_stalls_with_its_cause(
    container: dict[str, Any], reason: Reason, words: str
) -> None:
    stack = a_stack()
    work = Work(["Deployment shop-api is being rolled out"])
    found = verdicts(stack, a_late_rollout(stack, LATE, **container), work)
    assert found["Stalled"].reason is found["APIReady"].reason is reason
    assert words in found["Stalled"].message
    assert "Deployment shop-api made no progress for 300 s" in found["Stalled"].message
    assert "Reconciling" not in found


@pytest.mark.parametrize(("seconds", "condition"), [(299, "Reconciling"), (301, "Stalled")])
def test_a_changed_spec_has_its_own_time(seconds: int, condition: str) -> None:
    stack = a_stack()
    seen = a_late_rollout(stack, LATE, state=NO_IMAGE)
    changed = replace(seen, moments={("AppStack", "shop"): seen.now - timedelta(seconds=seconds)})
    found = verdicts(stack, changed, Work(["Deployment shop-api is being rolled out"]))
    assert {"Reconciling", "Stalled"} & found.keys() == {condition}


def test_a_rollout_within_its_deadline_goes_on() -> None:
    stack = a_stack()
    moving = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
    found = verdicts(stack, a_late_rollout(stack, moving, state=NO_IMAGE), Work(["a rollout"]))
    assert found["APIReady"].reason is Reason.IMAGE_PULL_FAILED
    assert "Stalled" not in found
    assert "Reconciling" in found


@pytest.mark.parametrize(
    ("status", "age_seconds", "reason"),
    [
        pytest.param("False", 200, Reason.USAGE_UNREADABLE, id="for minutes"),
        pytest.param("False", 100, Reason.HEALTHY, id="the pods are new"),
        pytest.param("True", 200, Reason.HEALTHY, id="it can be measured"),
    ],
)
def test_an_autoscaler_that_is_blind_is_said_and_endangers_nothing(
    status: str, age_seconds: float, reason: Reason
) -> None:
    stack = a_stack(backend={"api": {"autoscaling": {}}})
    since = (NOW - timedelta(seconds=age_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    active = {"type": "ScalingActive", "status": status, "message": "no metrics", "lastTransitionTime": since}
    wanted = (item.manifest for item in build_stack(stack, a_context()))
    scaler = made(stack, next(each for each in wanted if each["kind"] == "HorizontalPodAutoscaler"))
    deployment = with_replicas(stack, 2)
    seen = with_object(a_running_stack(stack), {**scaler, "status": {"conditions": [active]}})
    found = verdicts(stack, with_object(seen, deployment))
    assert found["APIReady"].reason is reason
    assert (found["Ready"].is_true, found["HighlyAvailable"].is_true) == (True, True)


def with_replicas(stack: AppStack, replicas: int) -> Object:
    """The API's Deployment as an autoscaler has set it."""
    wanted = (item.manifest for item in build_stack(stack, a_context()))
    named = next(each for each in wanted if (each["kind"], each["metadata"]["name"]) == ("Deployment", "shop-api"))
    scaled = {**named, "spec": {**named["spec"], "replicas": replicas}}
    return made(stack, scaled, **status_of(scaled))


SCALED = {"name": "bulk", "queues": ["bulk", "mail"], "autoscaling": {"minReplicas": 1, "maxReplicas": 4}}

FIXED = {"name": "bulk", "queues": ["bulk", "mail"], "replicas": 2}


@pytest.mark.parametrize(
    ("pool", "backlog", "is_blind"),
    [
        pytest.param(SCALED, {"bulk": 3, "mail": None}, True, id="a queue without a leader"),
        pytest.param(SCALED, {"bulk": 3}, False, id="a queue that does not exist is an empty one"),
        pytest.param(SCALED, {"bulk": 3, "mail": 0, "other": None}, False, id="a queue of somebody else's"),
        pytest.param(FIXED, {"bulk": 3, "mail": None}, False, id="nobody is scaled on it"),
    ],
)
def test_a_pool_that_cannot_be_scaled_says_so(
    pool: dict[str, Any], backlog: dict[str, int | None], is_blind: bool
) -> None:
    stack = a_stack(backend={"workers": [pool]})
    seen = a_running_stack(stack)
    found = verdicts(stack, replace(seen, rabbitmq=replace(seen.rabbitmq, backlog=backlog)))
    workers = found["WorkersReady"]
    assert (workers.reason is Reason.BACKLOG_UNREADABLE) is is_blind
    assert ("queue mail has no leader" in workers.message) is is_blind
    assert found["Ready"].is_true, "those that are there work on"


@pytest.mark.parametrize(
    ("answers", "is_blind"),
    [
        pytest.param({"backlog": {"mail": None}, "electing": {"mail"}}, False, id="a leader is being elected"),
        pytest.param({"backlog": {"bulk": None, "mail": None}, "electing": {"mail"}}, True, id="of one of two"),
        pytest.param({"backlog_error": "late", "electing": {""}}, False, id="nothing is told for a moment"),
        pytest.param({"backlog_error": "late"}, True, id="nothing is told for long"),
    ],
)
def test_a_moment_without_a_leader_is_not_told(answers: dict[str, Any], is_blind: bool) -> None:
    stack = a_stack(backend={"workers": [SCALED]})
    seen = a_running_stack(stack)
    workers = verdicts(stack, replace(seen, rabbitmq=replace(seen.rabbitmq, **answers)))["WorkersReady"]
    assert (workers.reason is Reason.BACKLOG_UNREADABLE) is is_blind
    assert workers.is_true is not is_blind
