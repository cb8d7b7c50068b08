"""The order in which pods of data services get a new template: theirs are OnDelete StatefulSets. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from appstack_operator.assess.pods import is_ready
from appstack_operator.objects import ROLE_LABEL, Object, component_of
from appstack_operator.observed import Observed

LEADING_ROLES = {"primary", "master"}
REVISION_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Restart:
    """One pod to delete, so that its StatefulSet makes it anew."""

    namespace: str
    pod: str
    uid: str
    is_primary: bool
    why: str


def next_restarts(seen: Observed) -> Iterator[Restart]:
    """At most one pod of each StatefulSet, and none while another of its pods is away."""
    for stateful_set in seen.of_kind("StatefulSet"):
        if restart := next_restart(stateful_set, seen):
            yield restart


def next_restart(stateful_set: Object, seen: Observed) -> Restart | None:
    """The next pod of the old template: replicas first, the primary last."""
    status = stateful_set.get("status", {})
    newest = status.get("updateRevision")
    if status.get("observedGeneration", 0) < stateful_set["metadata"].get("generation", 0) or not newest:
        return None  # the controller has not looked at the new template yet
    pods = seen.pods(component_of(stateful_set))
    old = [pod for pod in pods if pod["metadata"]["labels"].get(REVISION_LABEL) not in (newest, None)]
    if not old:
        return None
    # An old pod that is not ready may be exactly what the new template repairs: it goes first.
    broken = [pod for pod in old if not is_ready(pod)]
    if any(not is_ready(pod) for pod in pods if pod not in broken) or len(pods) < stateful_set["spec"]["replicas"]:
        return None
    if any("deletionTimestamp" in pod["metadata"] for pod in pods):
        return None
    # Last pod first, as StatefulSets do; whoever leads comes after all others.
    queue = broken or sorted(old, key=lambda pod: (is_leading(pod), -ordinal(pod)))
    pod = queue[0]
    return Restart(
        pod["metadata"]["namespace"],
        pod["metadata"]["name"],
        pod["metadata"]["uid"],
        is_leading(pod),
        f"its template is old: {pod['metadata']['labels'][REVISION_LABEL]} -> {newest}",
    )


def is_leading(pod: Object) -> bool:
    """Whether the pod is PostgreSQL's primary or Redis' master."""
    return pod["metadata"]["labels"].get(ROLE_LABEL) in LEADING_ROLES


def ordinal(pod: Object) -> int:
    """The number at the end of a StatefulSet pod's name."""
    return int(pod["metadata"]["name"].rsplit("-", 1)[1])
