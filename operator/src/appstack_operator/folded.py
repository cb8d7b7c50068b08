"""What is kept of a look until the next one: objects as JSON, a fifth of the memory that they take unfolded. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import orjson

from appstack_operator.objects import Object
from appstack_operator.observed import Observed

Objects = Mapping[str, Mapping[str, Object]]  # kind -> name -> object
# What the questions to services need: whose a pod is, where it answers, what it announces, how many workers there are.
OUTLINES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "Pod": {"metadata": ("name", "uid", "labels"), "status": ("podIP",)},
    "Service": {"metadata": ("name",), "spec": ("clusterIP",)},
    "Deployment": {"metadata": ("name",), "spec": ("replicas",)},
}


class Folded(Objects):
    """Objects as text, read anew at each access."""

    def __init__(self, objects: Objects) -> None:
        """Fold them, without managedFields: only a plan reads those, and they are half of the text."""
        self._texts = {
            kind: orjson.dumps({name: without_managed_fields(obj) for name, obj in by_name.items()})
            for kind, by_name in objects.items()
        }

    def __getitem__(self, kind: str) -> Mapping[str, Object]:
        """All of a kind, by name."""
        found: Mapping[str, Object] = orjson.loads(self._texts[kind])
        return found

    def __iter__(self) -> Iterator[str]:
        """All kinds."""
        return iter(self._texts)

    def __len__(self) -> int:
        """How many kinds."""
        return len(self._texts)


class Unfolded(Objects):
    """The same for the time of one look: each kind is read once, and only if somebody asks for it."""

    def __init__(self, folded: Objects) -> None:
        """Nothing was read yet."""
        self._folded = folded
        self._read: dict[str, Mapping[str, Object]] = {}

    def __getitem__(self, kind: str) -> Mapping[str, Object]:
        """All of a kind, by name."""
        if kind not in self._read:
            self._read[kind] = self._folded[kind]
        return self._read[kind]

    def __iter__(self) -> Iterator[str]:
        """All kinds."""
        return iter(self._folded)

    def __len__(self) -> int:
        """How many kinds."""
        return len(self._folded)


def fold(seen: Observed) -> Observed:
    """What was seen, to be kept."""
    return replace(seen, objects=Folded(seen.objects), nodes=())


def unfold(seen: Observed) -> Observed:
    """What was kept, to be looked at and dropped."""
    return replace(seen, objects=Unfolded(seen.objects))


def outline(seen: Observed) -> Observed:
    """Pods and Services by their addresses, Deployments by their numbers: so little that it is kept unfolded."""
    return replace(
        seen,
        objects={
            kind: {name: cut(obj, parts) for name, obj in seen.objects.get(kind, {}).items()}
            for kind, parts in OUTLINES.items()
        },
        nodes=(),
    )


def cut(obj: Object, parts: Mapping[str, Sequence[str]]) -> Object:
    """Of each of these parts of an object what is named."""
    return {part: {key: obj[part][key] for key in keys if key in obj.get(part, {})} for part, keys in parts.items()}


def without_managed_fields(obj: Object) -> Object:
    """A copy of an object."""
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}
