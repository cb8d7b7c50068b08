"""Checks that the StatefulSets of the data services have in common. Pure."""

from collections.abc import Callable, Iterable

from appstack_operator.api import AppStack
from appstack_operator.assess.pods import is_ready, pods_can_run, ready_count
from appstack_operator.assess.refusals import pods_are_admitted
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.observed import Observed

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


def pods_can_start(component: str, seen: Observed) -> Verdict | None:
    """No pod is kept from running by a volume, a node, an image, a crash, or from being made at all."""
    return pods_can_run(seen.pods(component), seen) or pods_are_admitted(component, seen)


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
