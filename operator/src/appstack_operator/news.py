"""Which events are news: not what pods and autoscalers note every few seconds, nor the status that we have written."""

from enum import Enum

from appstack_operator.kinds import STACK
from appstack_operator.metrics import CHILD_EVENTS
from appstack_operator.objects import Object, component_of, content_hash

# Annotations that pods' own processes renew as they go. Everything that is not named here may wake a pass.
RENEWED = {"status"}
# What the API server itself keeps about each write, whatever was written.
BOOKKEEPING = {"resourceVersion", "managedFields"}


class Urgency(Enum):
    """What an event leads to."""

    NONE = "ignored"
    LATER = "later"  # a step of a run of a scheduled job: others come within seconds
    NOW = "news"


class News:
    """What was last seen of these kinds, as a hash. In doubt (a first sight, a new process) an event is news."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: dict[tuple[str, str, str], str] = {}

    def urgency(self, event_type: str | None, obj: Object) -> Urgency:
        """Whether an event tells something that a pass would read, and how soon."""
        if self.is_news(event_type, obj):
            found = Urgency.LATER if is_of_a_run(obj) else Urgency.NOW
        else:
            found = Urgency.LATER if obj.get("kind") == "CronJob" else Urgency.NONE
        CHILD_EVENTS.labels(found.value).inc()
        return found

    def is_news(self, event_type: str | None, obj: Object) -> bool:
        """Whether an event tells of something else than what is noted all the time."""
        if obj.get("kind") not in ESSENCES:
            is_new = True
        elif event_type == "DELETED":
            self._seen.pop(place_of(obj), None)
            is_new = True
        else:
            now = content_hash(ESSENCES[obj["kind"]](obj))
            is_new = self._seen.get(place_of(obj)) != now
            self._seen[place_of(obj)] = now
        return is_new

    def __len__(self) -> int:
        """How many objects are remembered."""
        return len(self._seen)


def version_of(obj: Object) -> tuple[str, str]:
    """The uid of an object and its version, as it is told of."""
    return str(obj["metadata"].get("uid")), str(obj["metadata"].get("resourceVersion"))


def place_of(obj: Object) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


def is_of_a_run(obj: Object) -> bool:
    """Whether it is a Job of a schedule, or a pod of one."""
    return obj.get("kind") in ("Job", "Pod") and component_of(obj).startswith("cron-")


def of_pod(pod: Object) -> Object:
    """A pod without what changes while nothing happens."""
    meta = metadata_of(pod)
    notes = meta.get("annotations") or {}
    meta["annotations"] = {key: value for key, value in notes.items() if key not in RENEWED}
    return {**pod, "metadata": meta}


def of_stack(stack: Object) -> Object:
    """A stack without its status, which passes write and do not follow: each would lead to one more."""
    return {"metadata": metadata_of(stack), "spec": stack.get("spec")}


def of_cron_job(cron_job: Object) -> Object:
    """A schedule without its status, which changes twice with each run."""
    return {"metadata": metadata_of(cron_job), "spec": cron_job["spec"]}


def of_autoscaler(autoscaler: Object) -> Object:
    """An autoscaler without the use that it measures four times a minute; whether it can measure it is kept."""
    conditions = autoscaler.get("status", {}).get("conditions") or []
    judged = [(each["type"], each["status"]) for each in conditions]
    return {"metadata": metadata_of(autoscaler), "spec": autoscaler["spec"], "conditions": judged}


def metadata_of(obj: Object) -> Object:
    """The metadata without the API server's notes about the last write."""
    return {key: value for key, value in obj["metadata"].items() if key not in BOOKKEEPING}


ESSENCES = {
    "Pod": of_pod,
    STACK.name: of_stack,
    "HorizontalPodAutoscaler": of_autoscaler,
    "CronJob": of_cron_job,
}
