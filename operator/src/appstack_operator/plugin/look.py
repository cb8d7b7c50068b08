"""Reads what `kubectl appstack status` shows: the stack, its workloads, pods, claims and jobs. No Secrets."""

import asyncio
from dataclasses import dataclass, field

from appstack_operator.assess.told import happened_at
from appstack_operator.client import Api, ApiError
from appstack_operator.kinds import BY_NAME, EVENT, Kind
from appstack_operator.objects import STACK_LABEL, Object
from appstack_operator.observe import observe_nodes
from appstack_operator.observed import Observed
from appstack_operator.plugin.forecast import only_nodes_are_shared

KINDS = ("StatefulSet", "Deployment", "CronJob", "Job", "Pod", "PersistentVolumeClaim")
FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class Look:
    """What was found; a kind that may not be listed is a note."""

    stack: Object
    objects: dict[str, list[Object]]
    warnings: dict[tuple[str, str], str] = field(default_factory=dict)  # (kind, name) -> its newest warning
    notes: list[str] = field(default_factory=list)
    nodes: Observed = field(default_factory=Observed)  # the nodes alone, where they tell whether a pod is moved


async def look(api: Api, stack: Object) -> Look:
    """Everything at once, and the nodes where pods share one."""
    namespace, name = stack["metadata"]["namespace"], stack["metadata"]["name"]
    notes: list[str] = []
    kinds = [BY_NAME[kind] for kind in KINDS]
    lists = await asyncio.gather(*(listed(api, kind, namespace, f"{STACK_LABEL}={name}", notes) for kind in kinds))
    events = await listed(api, EVENT, namespace, "", notes)
    objects = {kind.name: sorted(found, key=name_of) for kind, found in zip(kinds, lists, strict=True)}
    nodes = await observe_nodes(api, Observed()) if only_nodes_are_shared(stack) else Observed()
    return Look(stack, objects, warnings_of(events), notes, nodes)


async def listed(api: Api, kind: Kind, namespace: str, labels: str, notes: list[str]) -> list[Object]:
    """The objects of a kind; without the right to see them, none and a note."""
    try:
        return await api.list(kind, namespace, labels)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        notes.append(f"{kind.plural} are not shown: {error.message}")
        return []


def name_of(obj: Object) -> str:
    """Name of an object."""
    return str(obj["metadata"]["name"])


def warnings_of(events: list[Object]) -> dict[tuple[str, str], str]:
    """The newest warning about each object."""
    found = [each for each in events if each.get("type") == "Warning" and each.get("regarding")]
    ordered = sorted(found, key=happened_at)
    return {
        (each["regarding"].get("kind", ""), each["regarding"].get("name", "")): each.get("note", "") for each in ordered
    }
