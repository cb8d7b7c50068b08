"""Which pod may go back to a node of its own: spreading is a wish, and after a drain nothing else fulfils it. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from appstack_operator.api import AppStack
from appstack_operator.assess.availability import fullest_node, groups_of
from appstack_operator.assess.pods import claims_of, is_ready
from appstack_operator.objects import Object
from appstack_operator.observed import Node, Observed
from appstack_operator.ownership import annotation

# On the workload: when which of its pods was moved last, for which time in a row. So a restarted operator knows, too.
MOVED = "appstack.dev/pod-moved"
# A drain or a rollout that still goes on may be why the pod is where it is.
SETTLED = timedelta(seconds=30)
# Who landed on a shared node again found no room elsewhere, or none while a drain went on: so long, from move to move,
# until the next try.
AGAIN = [timedelta(minutes=minutes) for minutes in (5, 10, 20, 40, 60)]
# For so long a second try of the same pod keeps the note of the first: the operator died before it asked, perhaps.
RETRY = timedelta(seconds=60)
# Nobody tells that a node has come back.
LOOK_SECONDS = 60.0
ENDED = {"Succeeded", "Failed"}
REPELLING = {"NoSchedule", "NoExecute"}


@dataclass(frozen=True, slots=True)
class Moved:
    """What the note on a workload says."""

    at: datetime
    uid: str  # of the pod that was evicted
    times: int  # moves in a row that led to a shared node again, this one included

    def led_to(self, pod: Object) -> bool:
        """Whether the scheduler chose this pod's place in answer to the move; a later pod comes from another drain.

        Nor was one that has been there for longer moved; that clocks differ is allowed for.
        """
        grace = timedelta(seconds=pod["spec"].get("terminationGracePeriodSeconds", 30))
        is_of_that_time = self.at - RETRY <= created(pod) <= self.at + RETRY + grace
        return self.uid != pod["metadata"]["uid"] and is_of_that_time


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that shares its node with others of which too few would be left without it."""

    pod: Object
    owner: Object  # its StatefulSet or Deployment
    component: str
    node: str
    sharing: int  # how many pods of the component this node carries
    led_by: Moved | None  # the move that brought it here
    due: datetime  # from when on it may be moved


@dataclass(frozen=True, slots=True)
class Move:
    """One pod to evict, and the note about it for its workload."""

    pod: Object
    owner: Object
    note: str
    why: str


def next_move(stack: AppStack, seen: Observed) -> Move | None:
    """The first pod that is due and that a node has a place for. The scheduler chooses; one place must be there."""
    for each in candidates(stack, seen):
        free = next(free_nodes(each, seen), None)
        if is_due(each, seen) and free:
            why = f"node {each.node} has {each.sharing} {each.component} pods, and {free} has room for one"
            return Move(each.pod, each.owner, note_of(each, seen), why)
    return None


def describe_move(stack: AppStack, seen: Observed) -> str:
    """For people: which pod is to be moved next, and since when, or why not yet. Empty where none is."""
    if stack.spec.paused:
        return ""
    if move := next_move(stack, seen):
        return f"a move is due: Pod {move.pod['metadata']['name']}, since {move.why}"
    each = next(candidates(stack, seen), None)
    if each is None:
        return ""
    where = f"Pod {each.pod['metadata']['name']} shares node {each.node} with others of its kind"
    if not is_due(each, seen):
        return f"{where}: it is not moved before {each.due:%Y-%m-%dT%H:%M:%SZ}"
    if seen.are_nodes_hidden:
        return f"{where}: whether a move is due cannot be seen without the right to list nodes"
    return f"{where}: no other node is open to it"


def wants_nodes(stack: AppStack, seen: Observed) -> bool:
    """Whether a pass has to know the nodes; most never do."""
    return not stack.spec.paused and any(is_due(each, seen) for each in candidates(stack, seen))


def look_seconds(stack: AppStack, seen: Observed) -> float | None:
    """When to look again at what nobody tells: a pod that has settled, a node that has come back. None: never."""
    if stack.spec.paused or seen.are_nodes_hidden:
        return None
    waits = [(each.due - seen.now).total_seconds() for each in candidates(stack, seen)]
    return min((wait if wait > 0 else LOOK_SECONDS for wait in waits), default=None)


def candidates(stack: AppStack, seen: Observed) -> Iterator[Candidate]:
    """Of each group that the loss of a node would stop: the pod that came last there, if no volume binds it."""
    groups = list(groups_of(stack))
    if any(group.is_single for group in groups):
        return
    for group in groups:
        pods = seen.pods(group.component)
        if len(pods) < group.pods or not all(map(is_ready, pods)):
            continue
        node, sharing = fullest_node(pods)
        free = [pod for pod in pods if pod["spec"].get("nodeName") == node and not claims_of(pod)]
        name = f"{stack.name}-{group.component}"  # ours by its name: users put our labels on what is theirs, too
        owner = seen.get("StatefulSet", name) or seen.get("Deployment", name)
        if len(pods) - sharing < group.needed and free and owner:
            pod = max(free, key=lambda each: (created(each), each["metadata"]["name"]))
            led_by = move_that_led_to(pod, owner, stack)
            yield Candidate(pod, owner, group.component, node, sharing, led_by, due_at(pod, led_by))


def is_due(candidate: Candidate, seen: Observed) -> bool:
    """Whether it may be moved now."""
    return candidate.due <= seen.now


def due_at(pod: Object, led_by: Moved | None) -> datetime:
    """From when on a pod may be moved: once it has settled; what a move led to is left alone for longer each time."""
    settled = created(pod) + SETTLED
    return max(settled, led_by.at + AGAIN[min(led_by.times, len(AGAIN)) - 1]) if led_by else settled


def move_that_led_to(pod: Object, owner: Object, stack: AppStack) -> Moved | None:
    """The last move, if this pod is where it is because of it; not if all was well since then, until a new drain."""
    last = last_move(owner)
    told = next((each for each in stack.status.conditions if each.type == "HighlyAvailable"), None)
    was_well = told is not None and last is not None and datetime.fromisoformat(told.last_transition_time) > last.at
    return last if last and last.led_to(pod) and not was_well else None


def last_move(owner: Object) -> Moved | None:
    """The last move of a pod of this workload; None if there was none, or nobody can read the note."""
    at, _, rest = annotation(owner, MOVED).partition(" ")
    uid, _, times = rest.partition(" ")
    try:
        moved = Moved(datetime.fromisoformat(at), uid, max(1, int(times or 1)))  # older notes do not count
    except ValueError:
        return None
    return moved if moved.at.tzinfo else None


def note_of(candidate: Candidate, seen: Observed) -> str:
    """The note about this move; a second try of the same move keeps the time of the first, and its number."""
    pod, last = candidate.pod, last_move(candidate.owner)
    moved = Moved(seen.now, pod["metadata"]["uid"], 1)
    if last and last.uid == moved.uid:
        moved = last if seen.now < last.at + RETRY else replace(moved, times=last.times)
    elif candidate.led_by:
        moved = replace(moved, times=candidate.led_by.times + 1)
    return f"{moved.at.isoformat(timespec='seconds')} {moved.uid} {moved.times}"


def free_nodes(candidate: Candidate, seen: Observed) -> Iterator[str]:
    """The nodes that would take the pod and be no fuller with it than the shared one without it."""
    alive = [pod for pod in seen.pods(candidate.component) if pod["status"].get("phase") not in ENDED]
    on_node = Counter(pod["spec"].get("nodeName") for pod in alive)
    for node in sorted(seen.nodes, key=lambda node: (on_node[node.name], node.name)):
        if on_node[node.name] + 1 < candidate.sharing and suits(node, candidate.pod):
            yield node.name


def suits(node: Node, pod: Object) -> bool:
    """Whether a node is open to the pod; whether it has room, the scheduler knows."""
    selector = pod["spec"].get("nodeSelector") or {}
    tolerations = pod["spec"].get("tolerations") or []
    repelling = [taint for taint in node.taints if taint.get("effect") in REPELLING]
    return (
        node.is_open
        and selector.items() <= node.labels.items()
        and all(any(tolerates(each, taint) for each in tolerations) for taint in repelling)
    )


def tolerates(toleration: Object, taint: Object) -> bool:
    """As the scheduler compares them."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    is_equal = toleration.get("operator") in (None, "", "Equal")
    same_value = toleration.get("value", "") == taint.get("value", "")
    return is_equal and toleration.get("key") == taint["key"] and same_value


def created(obj: Object) -> datetime:
    """When an object was made."""
    return datetime.fromisoformat(obj["metadata"]["creationTimestamp"])
