"""Which pod of a data service is made anew next: for a new template (their StatefulSets are OnDelete), or as a cure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from appstack_operator.api import AppStack
from appstack_operator.assess.partition import all_speak, sides_of
from appstack_operator.assess.pods import is_in_doubt, is_ready
from appstack_operator.assess.reach import COMPONENTS, is_cut_off
from appstack_operator.heirs import heirs
from appstack_operator.objects import ROLE_LABEL, Object
from appstack_operator.observed import Observed

# A node apart cannot say goodbye: it waits for the others until it is killed. Others have what its queues hold.
APART_GRACE_SECONDS = 10
# A node that loads a long queue may need minutes; one that waits for its own kind would wait for ever.
STARTING_SECONDS = 300
LEADING_ROLES = {"primary", "master"}
REVISION_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Restart:
    """One pod to delete, so that its StatefulSet makes it anew."""

    namespace: str
    pod: str
    uid: str
    owner: str  # its StatefulSet
    is_primary: bool
    is_ready: bool
    is_running: bool
    why: str
    grace_seconds: int | None = None  # None: the pod's own

    @property
    def ordinal(self) -> int:
        """The number at the end of a StatefulSet pod's name."""
        return ordinal(self.pod)


def next_restarts(stack: AppStack, seen: Observed) -> Iterator[Restart]:
    """Pods that do not run anyway; or one pod of the whole stack, and that only while the others are well.

    PostgreSQL's primary waits for a member that can take over: a ready replica is not always one. Nobody goes while the
    operator is cut off from them: who leads, and who could, is not known then. Nor does a pod of a service of which
    another one was just found silent: what is silent may still serve, and nobody but the operator says otherwise.
    """
    if is_cut_off(seen):
        return
    sets = [(each, seen.pods(component)) for component, each in sets_of(stack, seen).items()]
    pods = [pod for _, members in sets for pod in members]
    if not all(is_observed(each) for each, _ in sets) or any(map(is_going, pods)):
        return
    known = [(each, members) for each, members in sets if not any(is_in_doubt(pod, seen) for pod in members)]
    old = [restart_of(pod, each) for each, members in known for pod in members if is_old(pod, each)]
    # An old pod that is not ready may be exactly what the new template repairs: it goes first. Whose server runs may
    # all the same be one of a majority: of those, one at a time.
    broken = [restart for restart in old if not restart.is_ready]
    dead = [restart for restart in broken if not restart.is_running]
    all_are_there = all(len(members) >= each["spec"]["replicas"] for each, members in sets)
    if broken:
        starting = {each["metadata"]["name"] for each, members in sets if is_starting(each, members, seen)}
        alive = sorted((each for each in broken if each.owner not in starting), key=in_order)
        yield from dead or alive[:1]
    elif all_are_there and all(map(is_ready, pods)):
        may_go = [each for each in sorted(old, key=in_order) if not waits(each, stack, seen)]
        # The cure first: a node of the larger side, restarted for a template, would leave no majority to the others.
        yield from (partitioned(seen) or may_go)[:1]


def sets_of(stack: AppStack, seen: Observed) -> dict[str, Object]:
    """The StatefulSets of the data services by component, found by name: labels may be somebody's until repaired."""
    found = ((component, seen.get("StatefulSet", f"{stack.name}-{component}")) for component in COMPONENTS)
    return {component: each for component, each in found if each is not None}


def waits(restart: Restart, stack: AppStack, seen: Observed) -> bool:
    """Whether a pod of an old template stays for now, because others could not do without it."""
    if restart.owner == f"{stack.name}-rabbitmq":
        return not is_one_cluster(seen)
    return waits_for_an_heir(restart, stack, seen)


def is_one_cluster(seen: Observed) -> bool:
    """Whether RabbitMQ's nodes all run, and together: a pod is ready also while a partition keeps its node apart.

    Where nobody answers the pods alone tell: what does not answer may be what the new template repairs.
    """
    nodes = seen.rabbitmq.nodes
    running = [node for node in nodes if node.is_running]
    return not nodes or (len(running) >= len(seen.pods("rabbitmq")) and len(sides_of(nodes)) <= 1)


def waits_for_an_heir(restart: Restart, stack: AppStack, seen: Observed) -> bool:
    """Whether it is PostgreSQL's primary, has others beside it, and none of them could take over now."""
    is_one_of_many = restart.owner == f"{stack.name}-postgres" and len(seen.pods("postgres")) > 1
    return is_one_of_many and restart.is_primary and not heirs(stack, seen)


def waiting_primary(stack: AppStack, seen: Observed) -> str:
    """The primary that is to be replaced and waits for an heir; empty if none does."""
    stateful_set = seen.get("StatefulSet", f"{stack.name}-postgres")
    if stateful_set is None:
        return ""
    old = [restart_of(pod, stateful_set) for pod in seen.pods("postgres") if is_old(pod, stateful_set)]
    return next((each.pod for each in old if each.is_ready and waits_for_an_heir(each, stack, seen)), "")


def in_order(restart: Restart) -> tuple[str, bool, int]:
    """Set by set; in a set the last pod first, as StatefulSets do, but whoever leads comes after all others."""
    return restart.owner, restart.is_primary, -restart.ordinal


def is_starting(stateful_set: Object, pods: Sequence[Object], seen: Observed) -> bool:
    """Whether a pod of the newest template is still to come, or to show that it works, and may.

    One that is missing is on its way, or refused: then another one would not come back either. One that does not even
    run tells against that template. One that runs for long and is not ready may wait for those that are still to be
    replaced.
    """
    if len(pods) < stateful_set["spec"]["replicas"]:
        return True
    new = [pod for pod in pods if not is_old(pod, stateful_set) and not is_ready(pod)]
    return any(not is_running(pod) or age_seconds(pod, seen) < STARTING_SECONDS for pod in new)


def age_seconds(pod: Object, seen: Observed) -> float:
    """How long ago the pod was made."""
    return (seen.now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])).total_seconds()


def is_running(pod: Object) -> bool:
    """Whether its server runs, ready or not."""
    return any("running" in (each.get("state") or {}) for each in pod["status"].get("containerStatuses") or [])


def partitioned(seen: Observed) -> list[Restart]:
    """RabbitMQ nodes that a partition keeps apart although it is over: only a restart of the smaller side ends that.

    Only where every node answers for itself: a side that cannot be asked may be the larger one.
    """
    nodes = seen.rabbitmq.nodes
    if seen.rabbitmq.error or not all_speak(nodes):
        return []
    chosen = [node.pod for side in sides_of(nodes)[1:] for node in side]
    pods = {pod["metadata"]["name"]: pod for pod in seen.pods("rabbitmq")}
    return [
        Restart(
            namespace=pods[name]["metadata"]["namespace"],
            pod=name,
            uid=pods[name]["metadata"]["uid"],
            owner=name.rpartition("-")[0],
            is_primary=False,
            is_ready=True,
            is_running=True,
            why="a partition that is over still keeps it from the other nodes",
            grace_seconds=APART_GRACE_SECONDS,
        )
        for name in reversed(chosen)
        if name in pods
    ]


def is_observed(stateful_set: Object) -> bool:
    """Whether the controller has looked at the newest template."""
    observed_generation = stateful_set.get("status", {}).get("observedGeneration", 0)
    return bool(observed_generation >= stateful_set["metadata"].get("generation", 0))


def is_going(pod: Object) -> bool:
    """Whether the pod is on its way out already."""
    return "deletionTimestamp" in pod["metadata"]


def is_old(pod: Object, stateful_set: Object) -> bool:
    """Whether the pod is of a template that is no longer the newest."""
    newest = stateful_set.get("status", {}).get("updateRevision")
    return bool(newest) and pod["metadata"]["labels"].get(REVISION_LABEL, newest) != newest


def restart_of(pod: Object, stateful_set: Object) -> Restart:
    """The restart that brings a pod to the newest template."""
    meta, newest = pod["metadata"], stateful_set["status"]["updateRevision"]
    return Restart(
        namespace=meta["namespace"],
        pod=meta["name"],
        uid=meta["uid"],
        owner=stateful_set["metadata"]["name"],
        is_primary=is_leading(pod),
        is_ready=is_ready(pod),
        is_running=is_running(pod),
        why=f"its template is old: {meta['labels'][REVISION_LABEL]} -> {newest}",
    )


def ordinal_of(pod: Object) -> int:
    """The number of a StatefulSet's pod."""
    return ordinal(pod["metadata"]["name"])


def ordinal(pod_name: str) -> int:
    """The number at the end of its name."""
    return int(pod_name.rsplit("-", 1)[1])


def is_leading(pod: Object) -> bool:
    """Whether the pod is PostgreSQL's primary or Redis' master."""
    return pod["metadata"]["labels"].get(ROLE_LABEL) in LEADING_ROLES
