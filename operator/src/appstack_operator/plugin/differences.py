"""What differs between two manifests, path by path, for people to read. Pure; the values of Secrets never get out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from appstack_operator.objects import Object
from appstack_operator.ownership import HASH, TEMPLATE_HASH

SECRET_FIELDS = ("data", "stringData")
# By these an item of a list is known, the first that all items have.
KEYS = ("name", "mountPath", "containerPort", "port", "key", "topologyKey")


class Absent:
    """Stands for a value that is not there; null is one that is."""

    def __repr__(self) -> str:
        """As a plan shows it."""
        return "(none)"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is another one, or there on one side only."""

    path: str
    before: Any = ABSENT
    after: Any = ABSENT

    def as_json(self) -> Object:
        """For programs; what is absent has no key."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path} | {name: value for name, value in sides.items() if value is not ABSENT}


def compare_manifests(before: Object | None, after: Object) -> list[Difference]:
    """What of an object changes: its stamps and its identity do not count."""
    found = compare(bare(before or {}), bare(after), "")
    if after.get("kind") != "Secret":
        return list(found)
    return [masked(each) if each.path.startswith(SECRET_FIELDS) else each for each in found]


def bare(manifest: Object) -> Object:
    """The content of a manifest."""
    content = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    meta = manifest.get("metadata", {})
    kept = {key: meta[key] for key in ("labels", "annotations") if meta.get(key)}
    notes = {key: value for key, value in kept.get("annotations", {}).items() if key not in (HASH, TEMPLATE_HASH)}
    kept["annotations"] = notes
    kept = {key: value for key, value in kept.items() if value}
    return {**({"metadata": kept} if kept else {}), **content}


def masked(difference: Difference) -> Difference:
    """That something differs, not what."""
    before, after = ("(not shown)" if side is not ABSENT else ABSENT for side in (difference.before, difference.after))
    if before is not ABSENT and after is not ABSENT:
        after = "(another, not shown)"
    return Difference(difference.path, before, after)


def compare(before: Any, after: Any, path: str) -> Iterator[Difference]:
    """Walk both sides together."""
    if before == after:
        return
    texts = parsed(before), parsed(after)
    if ABSENT not in texts:
        yield from compare(*texts, path)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from compare_maps(before, after, path)
    elif isinstance(before, list) and isinstance(after, list) and (key := key_of((*before, *after))):
        sides = [{str(item[key]): item for item in side} for side in (before, after)]
        for name in dict.fromkeys([*sides[0], *sides[1]]):
            yield from compare(sides[0].get(name, ABSENT), sides[1].get(name, ABSENT), f"{path}[{name}]")
    else:
        yield Difference(path, before, after)


def compare_maps(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[Difference]:
    """Key by key, in order."""
    for key in sorted({*before, *after}):
        step = f"[{json.dumps(key)}]" if "." in key or "/" in key else f".{key}" if path else key
        yield from compare(before.get(key, ABSENT), after.get(key, ABSENT), f"{path}{step}")


def parsed(text: Any) -> Any:
    """The value of a text that holds a JSON object (Patroni's settings do); ABSENT for anything else."""
    if not isinstance(text, str) or not text.startswith("{"):
        return ABSENT
    try:
        value = json.loads(text)
    except ValueError:
        return ABSENT
    return value if isinstance(value, dict) else ABSENT


def key_of(items: Sequence[Any]) -> str:
    """By what the items of two lists can be told apart; empty if by nothing."""
    if not items or not all(isinstance(item, dict) for item in items):
        return ""
    return next((key for key in KEYS if all(key in item for item in items)), "")


def shaped(live: Any, wanted: Any) -> Any:
    """The part of a live value that a wanted one speaks of: what the API server filled in is left out."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return {key: shaped(live[key], value) for key, value in wanted.items() if key in live}
    if isinstance(live, list) and isinstance(wanted, list) and (key := key_of((*live, *wanted))):
        known = {item[key]: item for item in wanted}
        return [shaped(item, known[item[key]]) for item in live if item[key] in known]
    return live
