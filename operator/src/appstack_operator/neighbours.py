"""Where the pods of all stacks answer, node by node, and which of them no Service shall send to any more. No IO.

Marking a pod is what Kubernetes' node lifecycle controller does some 40 seconds after a node is lost: its condition
`Ready` becomes False, and its Services leave it out. A kubelet that lives puts its own word back within ten seconds.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from appstack_operator.assess.pods import is_ready
from appstack_operator.objects import ROLE_LABEL, Object, component_of

Key = tuple[str, str]  # namespace, name of the stack
# Component -> the name of the port that is asked: the one that the operator's own questions go to, if there are some.
PORT_NAMES = {
    "api": "http",
    "postgres": "patroni",
    "postgres-pooler": "postgres",
    "redis": "redis",
    "redis-sentinel": "sentinel",
    "rabbitmq": "management",
}
RUNNING = "Running"


@dataclass(frozen=True, slots=True)
class Place:
    """One pod: where it answers, and whose work it does."""

    uid: str
    component: str
    role: str  # who leads is stood in for by nobody who follows
    node: str
    address: str
    port: int
    is_ready: bool


def places_of(pods: Iterable[Object]) -> list[Place]:
    """The pods that run and that have a port to ask."""
    return [place for pod in pods if (place := place_of(pod))]


def place_of(pod: Object) -> Place | None:
    """Where this pod answers; None while it does not run, is on its way out, or belongs to what nobody connects to."""
    meta, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    node, address, port = spec.get("nodeName"), status.get("podIP"), port_of(pod)
    if not (node and address and port) or status.get("phase") != RUNNING or "deletionTimestamp" in meta:
        return None
    role = str((meta.get("labels") or {}).get(ROLE_LABEL, ""))
    return Place(meta["uid"], component_of(pod), role, node, address, port, is_ready(pod))


def port_of(pod: Object) -> int | None:
    """The number that the pod itself gives the port: while another one is rolled out, old and new pods differ."""
    wanted = PORT_NAMES.get(component_of(pod))
    ports = (port for each in pod.get("spec", {}).get("containers", ()) for port in each.get("ports") or ())
    return next((port["containerPort"] for port in ports if wanted and port.get("name") == wanted), None)


def to_take_out(places: Collection[Place], silent: Collection[str]) -> list[Place]:
    """Of one stack, the ready pods among the silent ones (by uid) that another one stands in for.

    Another one is ready, is not silent, and does the same work on another node: so the last one always stays.
    """
    return [
        place
        for place in places
        if place.is_ready and place.uid in silent and any(stands_in(other, place, silent) for other in places)
    ]


def stands_in(other: Place, place: Place, silent: Collection[str]) -> bool:
    """Whether the other one takes what would have gone to the pod."""
    is_same_work = (other.component, other.role) == (place.component, place.role)
    return is_same_work and other.is_ready and other.uid not in silent and other.node != place.node


class Neighbours:
    """The pods of all stacks, as the last look at each stack saw them."""

    def __init__(self) -> None:
        """Nobody is known."""
        self._of_stack: dict[Key, dict[str, Place]] = {}
        self._on_node: dict[str, OrderedDict[str, tuple[Key, Place]]] = {}

    def note(self, key: Key, places: Sequence[Place]) -> None:
        """What was just seen of a stack; most often it is what was known."""
        before, after = self._of_stack.get(key, {}), {place.uid: place for place in places}
        if before == after:
            return
        for uid, place in before.items():
            if uid not in after or after[uid].node != place.node:
                self._drop(key, place)
        for uid, place in after.items():
            self._on_node.setdefault(place.node, OrderedDict())[uid] = (key, place)
        if after:
            self._of_stack[key] = after
        else:
            self._of_stack.pop(key, None)

    def forget(self, key: Key) -> None:
        """The stack is gone, or going."""
        self.note(key, [])

    def of_stack(self, key: Key) -> list[Place]:
        """All pods of a stack."""
        return list(self._of_stack.get(key, {}).values())

    def on_node(self, node: str) -> Iterator[tuple[Key, Place]]:
        """All pods on a node, each with its stack."""
        return iter(self._on_node.get(node, {}).values())

    def nodes(self) -> Collection[str]:
        """All nodes that have a pod of a stack."""
        return self._on_node.keys()

    def one_on_each_node(self) -> dict[str, Place]:
        """Node -> one of its pods, each time another one: no single pod speaks for its node twice in a row."""
        found = {}
        for node, pods in self._on_node.items():
            uid, (_, place) = next(iter(pods.items()))
            pods.move_to_end(uid)
            found[node] = place
        return found

    def _drop(self, key: Key, place: Place) -> None:
        """A pod is no longer one of the stack's; its label may have made it another's, which has noted it already."""
        pods = self._on_node.get(place.node, OrderedDict())
        if place.uid not in pods or pods[place.uid][0] != key:
            return
        del pods[place.uid]
        if not pods:  # a node without pods is none that could be asked
            del self._on_node[place.node]
