"""The Secrets and ConfigMaps of the user's that backend containers read: a changed one restarts the pods. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from appstack_operator.api import AppStack
from appstack_operator.api.common import EnvVar
from appstack_operator.objects import content_hash

REFERENCES_CHECKSUM = "appstack.dev/references-checksum"
Named = tuple[str, str]  # kind, name
NOTHING: Mapping[Named, Mapping[str, str] | None] = {}


@dataclass(frozen=True, slots=True)
class Reference:
    """One use of an object of the user's: of one key, or (no key) of all."""

    kind: str
    name: str
    key: str = ""
    prefix: str = ""


def references_of(stack: AppStack, own: Sequence[EnvVar] = ()) -> Iterator[Reference]:
    """What the backend's containers, and those with `own` variables, refer to."""
    for source in stack.spec.backend.env_from:
        for kind, whole in (("Secret", source.secret_ref), ("ConfigMap", source.config_map_ref)):
            if whole:
                yield Reference(kind, whole.name, prefix=source.prefix or "")
    for variable in (*stack.spec.backend.env, *own):
        if place := variable.value_from:
            for kind, one in (("Secret", place.secret_key_ref), ("ConfigMap", place.config_map_key_ref)):
                if one:
                    yield Reference(kind, one.name, key=one.key)


def named_by(stack: AppStack) -> set[Named]:
    """All objects of the user's that any container of the stack refers to."""
    pools = [variable for pool in stack.spec.backend.workers or () for variable in pool.env]
    return {(each.kind, each.name) for each in references_of(stack, pools)}


def references_checksum(
    stack: AppStack, contents: Mapping[Named, Mapping[str, str] | None], own: Sequence[EnvVar] = ()
) -> str:
    """Changes when anything that a container refers to changes; empty where it refers to nothing."""
    used = sorted({(each.kind, each.name, each.key) for each in references_of(stack, own)})
    return content_hash([[*each, used_content(contents, *each)] for each in used]) if used else ""


def used_content(contents: Mapping[Named, Mapping[str, str] | None], kind: str, name: str, key: str) -> object:
    """What one use of an object gets; None where it is missing."""
    data = contents.get((kind, name))
    return data.get(key) if data is not None and key else data


def names_from_env_from(stack: AppStack, contents: Mapping[Named, Mapping[str, str] | None]) -> set[str]:
    """The variables that the user's envFrom brings."""
    return {
        f"{each.prefix}{key}"
        for each in references_of(stack)
        if not each.key
        for key in contents.get((each.kind, each.name)) or {}
    }
