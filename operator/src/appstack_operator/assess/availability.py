"""Would the stack go on after the loss of any one pod or node? Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from appstack_operator.api import AppStack, Mode
from appstack_operator.api.postgres import SynchronousReplication
from appstack_operator.assess.pods import is_ready
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.pooler import COMPONENT as POOLER
from appstack_operator.desired.redis import min_replicas
from appstack_operator.objects import Object
from appstack_operator.observed import Observed


@dataclass(frozen=True, slots=True)
class Group:
    """Pods of which a number must be left for the service to go on."""

    component: str
    pods: int  # that the spec asks for
    needed: int  # that must survive
    why: str = ""  # so many, where one could be thought to do

    @property
    def is_single(self) -> bool:
        """Whether the spec asks for no spare pod."""
        return self.pods <= self.needed


def groups_of(stack: AppStack) -> Iterator[Group]:
    """What has to survive, by the spec. Workers may pause while one moves, so they are not here."""
    spec = stack.spec
    if spec.postgres.mode is Mode.MANAGED:
        is_required = spec.postgres.synchronous_replication is SynchronousReplication.REQUIRED
        needed, why = (2, "commits wait for a standby") if is_required else (1, "")
        yield Group("postgres", spec.postgres.instances, needed, why)
        if spec.postgres.pooler.enabled:  # the only door to the database then
            yield Group(POOLER, spec.postgres.pooler.replicas, 1)
    if spec.redis.mode is Mode.MANAGED:
        others = min_replicas(stack)
        why = f"a master takes writes with {others} or more replicas" if others else ""
        yield Group("redis", spec.redis.replicas, 1 + others, why)
        yield Group("redis-sentinel", spec.redis.sentinels, spec.redis.sentinels // 2 + 1)
    if spec.rabbitmq.mode is Mode.MANAGED:
        yield Group("rabbitmq", spec.rabbitmq.replicas, spec.rabbitmq.replicas // 2 + 1)
    scaled = spec.backend.api.autoscaling
    yield Group("api", scaled.min_replicas if scaled else spec.backend.api.replicas, 1)


def assess_availability(stack: AppStack, seen: Observed, idle: Collection[str] = ()) -> Verdict:
    """The first group that one loss would stop speaks; what serves nobody yet has no say."""
    groups = [group for group in groups_of(stack) if group.component not in idle]
    for group in groups:
        if group.is_single:
            return Verdict.false(
                Reason.SINGLE_INSTANCE,
                f"the spec asks for {group.pods} {group.component} pod(s): no spare one{because(group)}",
            )
    for group in groups:
        if verdict := nodes_are_shared_safely(group, seen):
            return verdict
    return Verdict.true(Reason.HEALTHY, f"the loss of any one pod or node ends nothing{not_judged(stack)}")


def not_judged(stack: AppStack) -> str:
    """The services of others: how many copies stand behind an address cannot be seen."""
    spec = stack.spec
    services = {"PostgreSQL": spec.postgres, "Redis": spec.redis, "RabbitMQ": spec.rabbitmq}
    external = [name for name, service in services.items() if service.mode is Mode.EXTERNAL]
    return f"; external and not judged: {', '.join(external)}" if external else ""


def nodes_are_shared_safely(group: Group, seen: Observed) -> Verdict | None:
    """No node carries so many pods of a group that its loss leaves too few."""
    pods = [pod for pod in seen.pods(group.component) if is_ready(pod)]
    if len(pods) <= group.needed:
        return Verdict.false(
            Reason.REPLICA_MISSING,
            f"{len(pods)} of {group.pods} {group.component} pods are ready: no spare one{because(group)}",
        )
    node, count = fullest_node(pods)
    if len(pods) - count >= group.needed:
        return None
    hidden = "; the operator may not list nodes, so it moves no pod" if seen.are_nodes_hidden else ""
    return Verdict.false(
        Reason.SHARED_NODE,
        f"{count} of {len(pods)} {group.component} pods run on node {node}: its loss would leave too few"
        f"{because(group)}{hidden}",
    )


def because(group: Group) -> str:
    """Why so many have to be left."""
    return f" ({group.why})" if group.why else ""


def fullest_node(pods: Sequence[Object]) -> tuple[str, int]:
    """The node that carries most of these pods, and how many."""
    on_node = Counter(str(pod["spec"].get("nodeName")) for pod in pods)
    return max(on_node.items(), key=lambda item: (item[1], item[0]))
