"""Tells from an object's managedFields whether all that we want in it is still ours. Pure.

Whoever changes a field takes it over in managedFields. So an object needs a write only if what we want has
changed (the hash in its annotation), or if a field of ours now belongs to somebody else.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from appstack_operator.objects import FIELD_MANAGER, Object, content_hash

HASH = "appstack.dev/applied"
TEMPLATE_HASH = "appstack.dev/template"


def stamped(manifest: Object) -> Object:
    """The manifest with the hash of its content, and of its pod template, in annotations."""
    stamps = {HASH: content_hash(manifest)}
    if template := manifest.get("spec", {}).get("template"):
        stamps[TEMPLATE_HASH] = content_hash(template)
    meta = manifest["metadata"]
    return {**manifest, "metadata": {**meta, "annotations": {**meta.get("annotations", {}), **stamps}}}


def annotation(obj: Object, key: str) -> str:
    """An annotation of an object; empty if it has none."""
    return str((obj["metadata"].get("annotations") or {}).get(key, ""))


def entry_of_ours(live: Object) -> Object | None:
    """Our entry in managedFields: of an apply, or of the creation if nothing was applied yet."""
    entries = [
        entry
        for entry in live["metadata"].get("managedFields") or []
        if entry.get("manager") == FIELD_MANAGER and not entry.get("subresource")
    ]
    applied = [entry for entry in entries if entry.get("operation") == "Apply"]
    return next(iter([*applied, *entries]), None)


def lost_fields(manifest: Object, live: Object) -> list[str]:
    """Paths of the fields that we want and that are no longer ours, ordered."""
    entry = entry_of_ours(live)
    fields = entry.get("fieldsV1", {}) if entry else {}
    wanted = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind", "metadata")}
    wanted["metadata"] = {
        key: manifest["metadata"][key]
        for key in ("labels", "annotations", "ownerReferences")
        if key in manifest["metadata"]
    }
    return sorted(lost(wanted, fields, live, ""))


def lost(wanted: Any, fields: Mapping[str, Any], live: Any, path: str) -> Iterator[str]:
    """Walk what we want beside what we own."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            below = live.get(key) if isinstance(live, dict) else None
            yield from lost_part(value, fields.get(f"f:{key}"), below, f"{path}.{key}" if path else key)
    elif isinstance(wanted, list):
        for position, item in enumerate(wanted):
            part, below = find_item(item, fields, live)
            yield from lost_part(item, part, below, f"{path}[{position}]")


def lost_part(wanted: Any, fields: Mapping[str, Any] | None, live: Any, path: str) -> Iterator[str]:
    """One field or list item: owned as a whole, owned in parts, or lost."""
    if wanted in (None, "", [], {}, 0, False):
        # The API server does not keep track of empty values; there the value itself must do.
        if live:
            yield path
    elif fields is None:
        yield path
    elif fields:
        yield from lost(wanted, fields, live, path)


def find_item(item: Any, fields: Mapping[str, Any], live: Any) -> tuple[Mapping[str, Any] | None, Any]:
    """The part of managedFields and of the live list that stands for an item."""
    for key, part in fields.items():
        if key.startswith("v:") and value_in(key) == item:
            return part, item
        if key.startswith("k:") and isinstance(item, dict):
            names = value_in(key)
            # A key that we left out (a port's protocol) was filled in by the API server.
            if all(item.get(name, value) == value for name, value in names.items()):
                return part, live_item(names, live)
    return None, None


@lru_cache(8192)
def value_in(key: str) -> Any:
    """The JSON in a key of managedFields, which is the same in most objects. Not to be changed."""
    return json.loads(key[2:])


def live_item(names: Mapping[str, Any], live: Any) -> Any:
    """The item of a live list that has these keys."""
    matches = (item for item in live or [] if all(item.get(name) == value for name, value in names.items()))
    return next(matches, None)


def owned_part(live: Object) -> Object:
    """What of an object is ours: the fields that we own, with their present values."""
    entry = entry_of_ours(live)
    return dict(part_of(live, entry.get("fieldsV1", {}))) if entry else {}


def part_of(live: Any, fields: Mapping[str, Any]) -> Any:
    """The part of a value that managedFields name; a value is owned as a whole where nothing is named below it."""
    below = {key: part for key, part in fields.items() if key != "."}
    if isinstance(live, dict) and below:
        return {key: part_of(value, below[f"f:{key}"]) for key, value in live.items() if f"f:{key}" in below}
    if isinstance(live, list) and below:
        parts = ((find_fields(item, below), item) for item in live)
        return [part_of(item, part) for part, item in parts if part is not None]
    return live


def find_fields(item: Any, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The managedFields of one item of a live list."""
    for key, part in fields.items():
        if key.startswith("v:") and value_in(key) == item:
            return dict(part)
        if key.startswith("k:") and isinstance(item, dict):
            names = value_in(key)
            if all(item.get(name) == value for name, value in names.items()):
                return dict(part)
    return None
