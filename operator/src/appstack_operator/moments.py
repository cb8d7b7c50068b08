"""When parts of a stack changed last, by managedFields. Read in a pass, kept for the looks until the next one. Pure."""

from collections.abc import Mapping
from datetime import datetime

from appstack_operator.objects import Object

# Kind -> the part whose last change counts.
PARTS = {"AppStack": "f:spec", "CronJob": "f:spec", "StatefulSet": "f:status"}


def moments_of(objects: Mapping[str, Mapping[str, Object]]) -> dict[tuple[str, str], datetime]:
    """(kind, name) -> when that part of it was changed last."""
    return {
        (kind, name): max(times)
        for kind, part in PARTS.items()
        for name, obj in objects.get(kind, {}).items()
        if (times := changes_of(obj, part))
    }


def changes_of(obj: Object, part: str) -> list[datetime]:
    """When each who wrote to a part of an object did so last."""
    entries = obj["metadata"].get("managedFields") or []
    return [
        datetime.fromisoformat(each["time"])
        for each in entries
        # An autoscaler that changes a number again and again has no new wish each time.
        if each.get("time") and part in each.get("fieldsV1", {}) and each.get("subresource") != "scale"
    ]
