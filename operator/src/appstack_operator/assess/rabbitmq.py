"""Is RabbitMQ well? An ordered chain of small checks: the first verdict is what the SRE reads. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.assess.partition import sides_of
from appstack_operator.assess.reach import pods_are_reached
from appstack_operator.assess.stateful import (
    first_verdict,
    pods_are_ready,
    pods_can_start,
    rollout_is_complete,
    set_exists,
)
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.observed import Observed, RabbitmqNode

COMPONENT = "rabbitmq"


def nodes_exist(stack: AppStack, seen: Observed) -> Verdict | None:
    """The StatefulSet was made."""
    return set_exists(stack, COMPONENT, seen)


def nodes_can_start(stack: AppStack, seen: Observed) -> Verdict | None:
    """No pod is kept from running by a volume, a node, an image, a crash."""
    return pods_can_start(stack, COMPONENT, seen)


def nodes_are_reached(stack: AppStack, seen: Observed) -> Verdict | None:
    """The operator is not cut off from the nodes."""
    return pods_are_reached(COMPONENT, seen)


def a_node_answers(stack: AppStack, seen: Observed) -> Verdict | None:
    """Some node's management API answers."""
    if not seen.rabbitmq.error:
        return None
    return Verdict.false(silence(seen), f"no RabbitMQ node answers: {seen.rabbitmq.error}")


def silence(seen: Observed) -> Reason:
    """What it means that nobody answers: pods that never became ready are being made; others have been lost."""
    pods = seen.pods(COMPONENT)
    started = [status.get("started") for pod in pods for status in pod.get("status", {}).get("containerStatuses") or []]
    return Reason.QUORUM_LOST if any(started) else Reason.CREATING


def majority_runs(stack: AppStack, seen: Observed) -> Verdict | None:
    """More than half of the nodes run: queues have leaders."""
    wanted = stack.spec.rabbitmq.replicas
    up = running(seen)
    if len(up) > wanted // 2:
        return None
    down = [node.pod for node in seen.rabbitmq.nodes if not node.is_running]
    missing = f"; not running: {', '.join(down)}" if down else ""
    reason = Reason.QUORUM_LOST if len(seen.rabbitmq.nodes) > wanted // 2 else Reason.CREATING
    return Verdict.false(reason, f"{len(up)} of {wanted} RabbitMQ nodes run{missing}")


def nodes_see_each_other(stack: AppStack, seen: Observed) -> Verdict | None:
    """No running node is apart from another: it may be so long after the network has healed."""
    sides = sides_of(seen.rabbitmq.nodes)
    if len(sides) > 1:
        apart = [node.pod for side in sides[1:] for node in side]
        rest = ", ".join(node.pod for node in sides[0])
        return Verdict.false(
            Reason.PARTITION_DETECTED,
            f"{', '.join(apart)} {'is' if len(apart) == 1 else 'are'} partitioned from {rest}; "
            f"a restart of {', then of '.join(reversed(apart))} ends it",
        )
    for node in running(seen):
        if node.partitions:
            others = ", ".join(pod_of(name) for name in node.partitions)
            return Verdict.false(Reason.PARTITION_DETECTED, f"{node.pod} lists a partition from {others}")
    return None


def publishers_are_not_held_back(stack: AppStack, seen: Observed) -> Verdict | None:
    """No node is short of memory or disk: RabbitMQ then blocks every publisher."""
    for node in running(seen):
        if node.alarms:
            return Verdict.false(
                Reason.PUBLISHERS_BLOCKED,
                f"{node.pod} is short of {' and '.join(node.alarms)}, so publishers are blocked",
            )
    return None


def nodes_are_ready(stack: AppStack, seen: Observed) -> Verdict | None:
    """As many nodes as the spec asks for are ready."""
    return pods_are_ready(COMPONENT, stack.spec.rabbitmq.replicas, seen)


def cluster_is_complete(stack: AppStack, seen: Observed) -> Verdict | None:
    """Every node is a running member of the one cluster."""
    wanted, up = stack.spec.rabbitmq.replicas, running(seen)
    if len(up) >= wanted:
        return None
    return Verdict.false(Reason.REPLICA_MISSING, f"{len(up)} of {wanted} nodes run in the cluster")


def pods_are_of_the_newest_template(stack: AppStack, seen: Observed) -> Verdict | None:
    """No pod waits for its restart."""
    return rollout_is_complete(COMPONENT, seen)


def running(seen: Observed) -> list[RabbitmqNode]:
    """The nodes that run."""
    return [node for node in seen.rabbitmq.nodes if node.is_running]


def pod_of(node_name: str) -> str:
    """rabbit@shop-rabbitmq-0.… -> shop-rabbitmq-0."""
    return node_name.partition("@")[2].partition(".")[0]


# Causes before symptoms.
CHECKS = (
    nodes_exist,
    nodes_can_start,
    nodes_are_reached,
    a_node_answers,
    majority_runs,
    nodes_see_each_other,
    publishers_are_not_held_back,
    nodes_are_ready,
    cluster_is_complete,
    pods_are_of_the_newest_template,
)


def assess_rabbitmq(stack: AppStack, seen: Observed) -> Verdict:
    """The first check that does not pass, or health."""
    well = f"{len(running(seen))} nodes run in one cluster"
    return first_verdict(CHECKS, stack, seen, well)
