"""The verdict about one Deployment: the API, or one pool of workers. Pure."""

from dataclasses import replace

from appstack_operator.assess.pods import condition, is_ready, pods_can_run, pods_stay_up, ready_count
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.objects import Object
from appstack_operator.observed import Observed


def assess_deployment(name: str, component: str, wanted: int | None, seen: Observed) -> Verdict:
    """Whether as many pods as wanted (None: as many as an HPA has set) are ready and of the newest template."""
    deployment = seen.get("Deployment", name)
    if deployment is None:
        return Verdict.false(Reason.CREATING, f"Deployment {name} does not exist yet")
    wanted = deployment["spec"].get("replicas", 1) if wanted is None else wanted
    pods = seen.pods(component)
    ready = ready_count(pods)
    cause = pods_can_run(pods, seen) or pods_are_admitted(deployment)
    if stuck := rollout_moves(deployment, ready, seen):
        cause = cause or pods_stay_up(pods)  # which may run just now, until they crash the next time
        return replace(cause, message=f"{cause.message}; {stuck.message}", is_stuck=True) if cause else stuck
    return (
        cause
        or pods_are_ready(deployment, pods, ready, wanted)
        or rollout_is_complete(deployment)
        or Verdict.true(Reason.HEALTHY, f"{ready} of {wanted} pods of {name} are ready")
    )


def pods_are_admitted(deployment: Object) -> Verdict | None:
    """The API server lets the pods be created."""
    failure = condition(deployment, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    return Verdict.false(
        Reason.POD_REFUSED, f"pods of Deployment {deployment['metadata']['name']} are refused: {failure.get('message')}"
    )


def rollout_moves(deployment: Object, ready: int, seen: Observed) -> Verdict | None:
    """The rollout of this very template has not run into its deadline, which a changed spec puts off."""
    is_current = deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"].get(
        "generation", 0
    )
    if not is_current or condition(deployment, "Progressing").get("reason") != "ProgressDeadlineExceeded":
        return None
    name, seconds = deployment["metadata"]["name"], deployment["spec"].get("progressDeadlineSeconds", 0)
    if (seen.now - seen.spec_changed).total_seconds() < seconds:
        return None
    others = "; the pods that served before still do" if ready else ""
    said = f"Deployment {name} made no progress for {seconds} s{others}"
    return replace(Verdict.false(Reason.ROLLOUT_STUCK, said), is_stuck=True)


def pods_are_ready(deployment: Object, pods: list[Object], ready: int, wanted: int) -> Verdict | None:
    """As many pods as wanted are ready."""
    if ready >= wanted:
        return None
    name = deployment["metadata"]["name"]
    waiting = [pod["metadata"]["name"] for pod in pods if not is_ready(pod)]
    which = f"; not ready: {', '.join(waiting)}" if waiting else ""
    reason = Reason.REPLICA_MISSING if ready else Reason.CREATING
    return Verdict.false(reason, f"{ready} of {wanted} pods of Deployment {name} are ready{which}")


def rollout_is_complete(deployment: Object) -> Verdict | None:
    """All pods are of the newest template."""
    if is_rolled_out(deployment):
        return None
    status = deployment.get("status", {})
    return Verdict.true(
        Reason.ROLLOUT_IN_PROGRESS,
        f"{status.get('updatedReplicas', 0)} of {deployment['spec'].get('replicas', 1)} pods of Deployment "
        f"{deployment['metadata']['name']} are of the new template",
    )


def is_rolled_out(deployment: Object) -> bool:
    """Whether only pods of the newest template exist, and all are available (as kubectl rollout status asks)."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def has_only_new_pods(deployment: Object) -> bool:
    """Whether no pod of an older template is left, ready or not."""
    status = deployment.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) >= deployment["spec"].get("replicas", 1)
    )
