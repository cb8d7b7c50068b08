"""Checks that the StatefulSets of the data services have in common. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from appstack_operator.api import AppStack
from appstack_operator.api.status import Condition
from appstack_operator.assess.pods import condition, is_ready, pods_can_run, pods_stay_up, ready_count
from appstack_operator.assess.refusals import pods_are_admitted
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.objects import Object
from appstack_operator.observed import Observed

# A StatefulSet has no deadline of its own, as a Deployment has. What is on its way (a volume, a node that an autoscaler
# brings, an image of some size) gets this long.
STUCK_SECONDS = 600
Check = Callable[[AppStack, Observed], Verdict | None]


def first_verdict(checks: Iterable[Check], stack: AppStack, seen: Observed, well: str) -> Verdict:
    """The first check that does not pass, or health."""
    verdicts = (check(stack, seen) for check in checks)
    return next((verdict for verdict in verdicts if verdict), Verdict.true(Reason.HEALTHY, well))


def set_exists(stack: AppStack, component: str, seen: Observed) -> Verdict | None:
    """The StatefulSet was made."""
    name = f"{stack.name}-{component}"
    if seen.get("StatefulSet", name):
        return None
    return Verdict.false(Reason.CREATING, f"StatefulSet {name} does not exist yet")


def pods_can_start(stack: AppStack, component: str, seen: Observed) -> Verdict | None:
    """No pod is kept from running by a volume, a node, an image, a crash, or from being made at all.

    In a rollout that takes too long for it, it is stuck; what befalls a stack that was complete is an outage.
    """
    if not was_complete(stack) and (cause := what_is_stuck(component, seen)):
        return replace(cause, message=f"{cause.message}; so for {STUCK_SECONDS // 60} minutes or more", is_stuck=True)
    return pods_can_run(seen.pods(component), seen) or pods_are_admitted(component, seen)


def what_is_stuck(component: str, seen: Observed) -> Verdict | None:
    """What has kept a pod from becoming ready for longer than it may take."""
    late = [pod for pod in seen.pods(component) if is_late(pod, seen)]
    counted_at = [
        seen.moments.get(("StatefulSet", each["metadata"]["name"])) for each in seen.of_kind("StatefulSet", component)
    ]
    are_refused = any(at and is_long_ago(at, seen) for at in counted_at)
    refused = pods_are_admitted(component, seen) if are_refused else None
    return pods_can_run(late, seen) or pods_stay_up(late) or refused


def was_complete(stack: AppStack) -> bool:
    """Whether this generation of the spec was once rolled out as a whole."""
    ready = next((each for each in stack.status.conditions if each.type == "Ready"), None)
    return ready is not None and ready.observed_generation >= stack.metadata.generation


def was_ever_complete(conditions: Iterable[Condition]) -> bool:
    """Whether some generation of the spec was once rolled out as a whole: only then Ready speaks for one."""
    return any(condition.type == "Ready" and condition.observed_generation for condition in conditions)


def is_late(pod: Object, seen: Observed) -> bool:
    """Whether a pod has not been ready for longer than it may take."""
    if is_ready(pod) or "deletionTimestamp" in pod["metadata"]:
        return False
    told = condition(pod, "Ready") or condition(pod, "PodScheduled")
    since = told.get("lastTransitionTime") or pod["metadata"].get("creationTimestamp")
    return bool(since) and is_long_ago(datetime.fromisoformat(since), seen)


def is_long_ago(moment: datetime, seen: Observed) -> bool:
    """Whether something has lasted for too long; a spec that was changed meanwhile has its own time from then on."""
    return (seen.now - max(moment, seen.spec_changed)).total_seconds() > STUCK_SECONDS


def pods_are_ready(component: str, wanted: int, seen: Observed) -> Verdict | None:
    """As many pods as wanted are ready."""
    pods = seen.pods(component)
    ready = ready_count(pods)
    if ready >= wanted:
        return None
    waiting = [pod["metadata"]["name"] for pod in pods if not is_ready(pod)]
    which = f"; not ready: {', '.join(waiting)}" if waiting else ""
    reason = Reason.REPLICA_MISSING if ready else Reason.CREATING
    return Verdict.false(reason, f"{ready} of {wanted} {component} pods are ready{which}")


def rollout_is_complete(component: str, seen: Observed) -> Verdict | None:
    """All pods are of the newest template."""
    for stateful_set in seen.of_kind("StatefulSet", component):
        newest = stateful_set.get("status", {}).get("updateRevision")
        labels = [pod["metadata"].get("labels", {}) for pod in seen.pods(component)]
        old = sum(each.get("controller-revision-hash", newest) != newest for each in labels)
        if newest and old:
            return Verdict.true(
                Reason.ROLLOUT_IN_PROGRESS,
                f"{old} pods of StatefulSet {stateful_set['metadata']['name']} are still of the old template",
            )
    return None
