"""What can be wrong with the pods of any component, and how to say it so that the cause is named. Pure."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from appstack_operator.assess.claims import GRACE_SECONDS, age_seconds, claim_is_bound
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.objects import Object
from appstack_operator.observed import Observed

PULL_TROUBLE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
# A kubelet says the cause now with and now without this before it: the same trouble is said in the same words.
PULL_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*": (ErrImagePull: )?')
# Controllers make pods at once, and tell of them a moment later: what is not there then was refused.
PODLESS_SECONDS = 20
MANY_RESTARTS = 3
# The operator's own word in a pod's condition Ready, where its node is silent (lookout.py). While it is young, it
# may be nothing but the operator's way to that node that is cut.
NODE_SILENT = "NodeSilent"
DOUBTED_SECONDS = 60
# Kubelet's words about what a container's environment is to be taken from.
MISSING_INPUTS = (
    (re.compile(r'secret "[^"]*" not found'), Reason.SECRET_MISSING),
    (re.compile(r"couldn't find key \S+ in Secret "), Reason.SECRET_INVALID),
    (re.compile(r'configmap "[^"]*" not found'), Reason.CONFIG_MAP_MISSING),
    (re.compile(r"couldn't find key \S+ in ConfigMap "), Reason.CONFIG_MAP_MISSING),
)
CONFIG_TROUBLE = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}

CLAIM_NOT_FOUND = re.compile(r'persistentvolumeclaim "[^"]+" not found')


def is_ready(pod: Object) -> bool:
    """Whether the pod takes traffic: ready, and not on its way out."""
    return "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready").get("status") == "True"


def is_in_doubt(pod: Object, seen: Observed) -> bool:
    """Whether nobody but the operator, and only just now, has said that the pod is not ready."""
    said = condition(pod, "Ready")
    if said.get("reason") != NODE_SILENT:
        return False
    return (seen.now - datetime.fromisoformat(said["lastTransitionTime"])).total_seconds() < DOUBTED_SECONDS


def ready_count(pods: Iterable[Object]) -> int:
    """How many of the pods are ready."""
    return sum(is_ready(pod) for pod in pods)


def condition(obj: Object, kind: str) -> Object:
    """A condition of any object; empty if it has none of that type."""
    found = (item for item in obj.get("status", {}).get("conditions") or [] if item["type"] == kind)
    return next(found, {})


def pods_can_run(pods: Iterable[Object], seen: Observed) -> Verdict | None:
    """Nothing keeps a pod from running: no missing node, volume, image, no crash."""
    verdicts = (trouble(pod, seen) for pod in pods if not is_ready(pod))
    return next((verdict for verdict in verdicts if verdict), None)


def trouble(pod: Object, seen: Observed) -> Verdict | None:
    """The first thing that keeps this pod from running."""
    checks = (volumes_are_bound, node_is_found, images_are_there, containers_stay_up)
    return next((verdict for check in checks if (verdict := check(pod, seen))), None)


def claims_of(pod: Object) -> list[str]:
    """The names of the claims that a pod mounts."""
    volumes = pod["spec"].get("volumes") or []
    return [name for volume in volumes if (name := volume.get("persistentVolumeClaim", {}).get("claimName"))]


def volumes_are_bound(pod: Object, seen: Observed) -> Verdict | None:
    """Every claim of the pod has its volume."""
    verdicts = (claim_is_bound(name, seen, waits_for_a_node=is_unschedulable(pod)) for name in claims_of(pod))
    return next((verdict for verdict in verdicts if verdict), None)


def is_unschedulable(pod: Object) -> bool:
    """Whether the scheduler has said that no node fits."""
    return condition(pod, "PodScheduled").get("reason") == "Unschedulable"


def node_is_found(pod: Object, seen: Observed) -> Verdict | None:
    """A node can take the pod."""
    if not is_unschedulable(pod):
        return None
    message = condition(pod, "PodScheduled").get("message", "")
    if CLAIM_NOT_FOUND.search(message) and age_seconds(pod, seen) <= GRACE_SECONDS:
        return None  # made a moment before the pod: the scheduler has not heard of it yet, and looks again when it has
    return Verdict.false(Reason.POD_UNSCHEDULABLE, f"pod {pod['metadata']['name']} is unschedulable: {message}")


def images_are_there(pod: Object, seen: Observed) -> Verdict | None:
    """Every image could be pulled."""
    for status, waiting in waiting_containers(pod):
        if waiting.get("reason") in PULL_TROUBLE:
            message = PULL_BACK_OFF.sub("", waiting.get("message") or "") or waiting["reason"]
            return Verdict.false(
                Reason.IMAGE_PULL_FAILED,
                f"image {status['image']} of pod {pod['metadata']['name']} cannot be pulled: {message}",
            )
    return None


def containers_stay_up(pod: Object, seen: Observed) -> Verdict | None:
    """No container ends soon after its start, and every one could be started."""
    name = pod["metadata"]["name"]
    for status, waiting in waiting_containers(pod):
        if waiting.get("reason") == "CrashLoopBackOff":
            return crash(pod, status)
        if waiting.get("reason") in CONFIG_TROUBLE:
            said = waiting.get("message") or waiting["reason"]
            return Verdict.false(
                reason_of_refusal(said), f"container {status['name']} of pod {name} cannot start: {said}"
            )
    return None


def pods_stay_up(pods: Iterable[Object]) -> Verdict | None:
    """No container has crashed again and again, whatever it does just now: of a rollout whose time is up."""
    for pod in pods:
        for status in [] if is_ready(pod) else container_statuses(pod):
            ended = status.get("lastState", {}).get("terminated", {})
            if ended.get("exitCode") and status.get("restartCount", 0) >= MANY_RESTARTS:
                return crash(pod, status)
    return None


def crash(pod: Object, container_status: Object) -> Verdict:
    """What the container said last."""
    name = pod["metadata"]["name"]
    return Verdict.false(
        Reason.CRASH_LOOPING,
        f"container {container_status['name']} of pod {name} crashes: {last_words(container_status)}",
    )


def reason_of_refusal(said: str) -> Reason:
    """What kubelet's words mean: an object of the environment that is missing, or lacks a key, or something else."""
    return next((reason for pattern, reason in MISSING_INPUTS if pattern.search(said)), Reason.CRASH_LOOPING)


def waiting_containers(pod: Object) -> Iterator[tuple[Object, Object]]:
    """(container status, its waiting state), init containers first."""
    for each in container_statuses(pod):
        if waiting := each.get("state", {}).get("waiting"):
            yield each, waiting


def container_statuses(pod: Object) -> list[Object]:
    """What kubelet tells of all containers, init containers first."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def last_words(container_status: Object) -> str:
    """How a container ended last: its exit code and the end of its log."""
    now, before = (container_status.get(key, {}).get("terminated") for key in ("state", "lastState"))
    ended = now or before
    if not ended:
        return "no exit code is known"
    said = " | ".join((ended.get("message") or "").strip().splitlines()[-3:])
    code = f"exit code {ended.get('exitCode')} ({ended.get('reason', 'Error')})"
    return f"{code}: {said[-500:]}" if said else code


def is_pod_of(pod: Object, job: str) -> bool:
    """Whether a Job made this pod."""
    return any(owner.get("name") == job for owner in pod["metadata"].get("ownerReferences") or [])
