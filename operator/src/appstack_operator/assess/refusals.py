"""Pods that the API server does not let be created: StatefulSets and Jobs have no condition for that. Pure."""

import re
from datetime import datetime

from appstack_operator.assess.pods import PODLESS_SECONDS, is_pod_of
from appstack_operator.assess.told import WORDS_LIMIT, newest_words
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.objects import Object
from appstack_operator.observed import Observed

# What the controllers of Kubernetes write before the API server's own words.
PREFACE = re.compile(r"^(create Pod \S+ in StatefulSet \S+ failed error|Error creating): ")


def pods_are_admitted(component: str, seen: Observed) -> Verdict | None:
    """The API server lets the pods of a component's StatefulSet be created."""
    for stateful_set in seen.of_kind("StatefulSet", component):
        if missing := refused_pods(stateful_set, seen):
            return refusal("StatefulSet", stateful_set["metadata"]["name"], ", ".join(missing), seen)
    return None


def pod_is_admitted(job: Object, seen: Observed) -> Verdict | None:
    """The API server lets the Job's pod be created."""
    return refusal("Job", job["metadata"]["name"], "its pod", seen) if has_no_pod(job, seen) else None


def lacking_pods(seen: Observed) -> list[tuple[str, Object]]:
    """(kind, object) of who was not let create a pod: the events about it are worth a question."""
    sets = [("StatefulSet", each) for each in seen.of_kind("StatefulSet") if refused_pods(each, seen)]
    return sets + [("Job", each) for each in seen.of_kind("Job") if has_no_pod(each, seen)]


def refused_pods(stateful_set: Object, seen: Observed) -> list[str]:
    """The pods that its controller could not make.

    It makes all pods at once, and counts them in its status a moment later: fewer than wanted for long means that it
    was not let.
    """
    name, status = stateful_set["metadata"]["name"], stateful_set.get("status", {})
    wanted, counted_at = stateful_set["spec"]["replicas"], seen.moments.get(("StatefulSet", name))
    is_current = status.get("observedGeneration", 0) >= stateful_set["metadata"].get("generation", 0)
    if counted_at is None or not is_current or status.get("replicas", 0) >= wanted:
        return []
    if (seen.now - counted_at).total_seconds() < PODLESS_SECONDS:
        return []
    return [each for each in (f"{name}-{number}" for number in range(wanted)) if not seen.get("Pod", each)]


def has_no_pod(job: Object, seen: Observed) -> bool:
    """Whether a Job that was started has had no pod; it gets one within a moment."""
    status = job.get("status", {})
    if not (started := status.get("startTime")) or any(status.get(key) for key in ("active", "failed", "succeeded")):
        return False
    is_late = (seen.now - datetime.fromisoformat(started)).total_seconds() >= PODLESS_SECONDS
    return is_late and not any(is_pod_of(pod, job["metadata"]["name"]) for pod in seen.of_kind("Pod"))


def refusal(kind: str, name: str, what: str, seen: Observed) -> Verdict:
    """What cannot be created, and why: in the words of the API server, where an event tells them."""
    said = PREFACE.sub("", newest_words(kind, name, seen, lambda event: event.get("reason") == "FailedCreate"))
    cause = said[:WORDS_LIMIT] or "its events of reason FailedCreate say why"
    return Verdict.false(Reason.POD_REFUSED, f"{kind} {name} cannot create {what}: {cause}")
