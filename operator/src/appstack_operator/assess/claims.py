"""Why a PersistentVolumeClaim has no volume, by the events about it: nothing else says so. Pure."""

import re
from datetime import datetime, timedelta

from appstack_operator.assess.told import WORDS_LIMIT, is_since, newest_words
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.objects import Object
from appstack_operator.observed import Observed

# From then on a failure that is told of counts; where none is told, a slow disk gets its time.
GRACE_SECONDS = 20
SILENT_GRACE_SECONDS = 120
# Who fails tries again, and says so again, within a few minutes: what is older may be over.
EVENT_SECONDS = 600
# Kubernetes says this one as a matter of course (type Normal), and it is the whole cause.
NO_CLASS = "FailedBinding"
ABSENT_CLASS = re.compile(r'storageclass\.storage\.k8s\.io "(?P<name>[^"]*)" not found')


def claim_is_bound(name: str, seen: Observed, *, waits_for_a_node: bool) -> Verdict | None:
    """A claim of a pod has its volume.

    Many volumes are made only once the pod has a node: without one, only a failure that was seen counts.
    """
    claim = seen.get("PersistentVolumeClaim", name)
    if claim is None or not is_overdue(claim, seen):
        return None
    cause = cause_of(claim, seen)
    if not cause and (waits_for_a_node or age_seconds(claim, seen) <= SILENT_GRACE_SECONDS):
        return None
    wanted = claim["spec"].get("storageClassName")
    of_class = f" of storage class '{wanted}'" if wanted else ""
    said = cause or f"no volume{of_class} yet"
    return Verdict.false(Reason.VOLUME_PENDING, f"PersistentVolumeClaim {name} is Pending: {said}")


def is_overdue(claim: Object, seen: Observed) -> bool:
    """Whether a claim waits for longer than it takes to make a volume."""
    is_pending = claim.get("status", {}).get("phase") == "Pending"
    return is_pending and age_seconds(claim, seen) > GRACE_SECONDS


def age_seconds(claim: Object, seen: Observed) -> float:
    """How long ago the claim was made."""
    return (seen.now - datetime.fromisoformat(claim["metadata"]["creationTimestamp"])).total_seconds()


def cause_of(claim: Object, seen: Observed) -> str:
    """The newest failure that is told of this claim; empty if none is."""
    since = seen.now - timedelta(seconds=EVENT_SECONDS)

    def is_failure(event: Object) -> bool:
        return (event.get("type") == "Warning" or event.get("reason") == NO_CLASS) and is_since(event, since)

    said = newest_words("PersistentVolumeClaim", claim["metadata"]["name"], seen, is_failure)
    absent = ABSENT_CLASS.search(said)
    return f"no storage class '{absent['name']}'" if absent else said[:WORDS_LIMIT]
