"""Which events about pods are news: Patroni notes its position in its pod every few seconds, and no pass reads that."""

from appstack_operator.metrics import CHILD_EVENTS
from appstack_operator.objects import Object, content_hash

# Annotations that pods' own processes renew as they go. Everything that is not named here may wake a pass.
RENEWED = {"status"}
# What the API server itself keeps about each write, whatever was written.
BOOKKEEPING = {"resourceVersion", "managedFields"}


class News:
    """What was last seen of each pod, as a hash. In doubt (a first sight, a new process) an event is news."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: dict[tuple[str, str], str] = {}

    def is_news(self, event_type: str | None, obj: Object) -> bool:
        """Whether an event tells something that a pass would read."""
        if obj.get("kind") != "Pod":
            is_new = True
        elif event_type == "DELETED":
            self._seen.pop(place_of(obj), None)
            is_new = True
        else:
            now = content_hash(essence(obj))
            is_new = self._seen.get(place_of(obj)) != now
            self._seen[place_of(obj)] = now
        CHILD_EVENTS.labels("news" if is_new else "ignored").inc()
        return is_new

    def __len__(self) -> int:
        """How many pods are remembered."""
        return len(self._seen)


def place_of(obj: Object) -> tuple[str, str]:
    """Namespace and name."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def essence(pod: Object) -> Object:
    """A pod without what changes while nothing happens."""
    meta = {key: value for key, value in pod["metadata"].items() if key not in BOOKKEEPING}
    notes = meta.get("annotations") or {}
    meta["annotations"] = {key: value for key, value in notes.items() if key not in RENEWED}
    return {**pod, "metadata": meta}
