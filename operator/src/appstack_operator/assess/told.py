"""What the events about an object say: the cause of what has no condition. Pure."""

from collections.abc import Callable
from datetime import datetime

from appstack_operator.objects import Object
from appstack_operator.observed import Observed

WORDS_LIMIT = 300


def newest_words(kind: str, name: str, seen: Observed, counts: Callable[[Object], bool]) -> str:
    """The note of the newest event that counts, in one line; empty where there is none."""
    events = [event for event in seen.events.get((kind, name), ()) if counts(event)]
    if not events:
        return ""
    return " ".join(str(max(events, key=happened_at).get("note", "")).split())


def is_since(event: Object, since: datetime) -> bool:
    """Whether an event was seen after that moment; one without a time cannot be told to be new."""
    at = happened_at(event)
    return bool(at) and datetime.fromisoformat(at) >= since


def happened_at(event: Object) -> str:
    """When an event was seen last; times of Kubernetes sort as text."""
    times = (
        (event.get("series") or {}).get("lastObservedTime"),
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    return str(next((each for each in times if each), ""))
