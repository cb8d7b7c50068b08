"""How many workers a pool needs for its backlog: up at once, down only after a calm time. Pure but for its memory.

Kubernetes chooses whom a smaller number ends, and after its grace period ends it in mid-message. So a pool keeps its
number while messages may be in hand that take long: while its workers were never seen without any for the calm time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from appstack_operator.api import AppStack
from appstack_operator.api.backend import Worker, WorkerAutoscaling
from appstack_operator.desired.backend import workers_of
from appstack_operator.desired.workers import component_of_worker
from appstack_operator.observed import Observed

Key = tuple[str, str, str]  # namespace, stack, pool


# So many parts of the calm time are told apart: a longer one costs no more memory, and ends that much later at most.
PARTS = 60


@dataclass(frozen=True, slots=True)
class Need:
    """What was needed within one part of the calm time."""

    until_seconds: float  # when that part ended, or ends
    replicas: int  # the most
    is_busy: bool  # workers held messages at each look


@dataclass(slots=True)
class ScalingMemory:
    """The needs of the last minutes of each pool. After a restart, or an unreadable backlog, a calm begins anew."""

    needs: dict[Key, list[Need]] = field(default_factory=dict)

    def forget(self, namespace: str, stack: str) -> None:
        """The stack is gone."""
        for key in [each for each in self.needs if each[:2] == (namespace, stack)]:
            del self.needs[key]


def scale_workers(stack: AppStack, seen: Observed, memory: ScalingMemory) -> dict[str, int]:
    """Pool -> number of workers, for the pools with autoscaling."""
    numbers = {}
    for pool in workers_of(stack):
        if pool.autoscaling:
            numbers[pool.name] = scale_pool(stack, pool, pool.autoscaling, seen, memory)
        else:
            memory.needs.pop(key_of(stack, pool), None)
    return numbers


def key_of(stack: AppStack, pool: Worker) -> Key:
    """Where a pool's needs are remembered."""
    return stack.namespace, stack.name, pool.name


def scale_pool(stack: AppStack, pool: Worker, bounds: WorkerAutoscaling, seen: Observed, memory: ScalingMemory) -> int:
    """The number for one pool; an unreadable backlog changes nothing."""
    current = replicas_of(stack, pool, bounds, seen)
    backlog, key = backlog_of(pool, seen), key_of(stack, pool)
    if backlog is None:
        memory.needs.pop(key, None)
        return clamp(current, bounds)
    in_hand = sum(seen.rabbitmq.in_hand.get(queue, 0) for queue in pool.queues)
    # A pool that is seen for the first time may have its number for a good reason: that counts as a need.
    least = needed(bounds, backlog) if key in memory.needs else max(needed(bounds, backlog), current)
    now_seconds, calm_seconds = seen.now.timestamp(), bounds.scale_down_stabilization_seconds
    need = Need(end_of_part(now_seconds, calm_seconds), least, is_busy=in_hand > 0)
    memory.needs[key] = needs = recent(memory.needs.get(key, []), need, now_seconds - calm_seconds)
    # Somebody may have begun before the calm time; else as many may be at work as there are messages in hand.
    at_work = current if all(each.is_busy for each in needs) else min(current, in_hand)
    return clamp(max(at_work, *(each.replicas for each in needs)), bounds)


def replicas_of(stack: AppStack, pool: Worker, bounds: WorkerAutoscaling, seen: Observed) -> int:
    """How many workers a pool is to have by now."""
    live = seen.get("Deployment", f"{stack.name}-{component_of_worker(pool)}")
    return int(live["spec"].get("replicas", bounds.min_replicas)) if live else bounds.min_replicas


def backlog_of(pool: Worker, seen: Observed) -> int | None:
    """Ready + unacknowledged messages of the pool's queues; None if the broker does not say of all of them."""
    return seen.rabbitmq.waiting_in(pool.queues) if seen.rabbitmq.knows_backlog else None


def is_idle(stack: AppStack, seen: Observed) -> bool:
    """Whether nothing waits for any pool that scales, and each has its fewest workers.

    Until then a shorter calm than asked for must not be taken for a whole one: what comes and goes was overlooked.
    """
    return all(
        backlog_of(pool, seen) == 0 and replicas_of(stack, pool, bounds, seen) <= bounds.min_replicas
        for pool in workers_of(stack)
        if (bounds := pool.autoscaling)
    )


def needed(bounds: WorkerAutoscaling, backlog: int) -> int:
    """One worker for each so many messages, begun ones counted in full."""
    return clamp(-(-backlog // bounds.messages_per_replica), bounds)


def clamp(replicas: int, bounds: WorkerAutoscaling) -> int:
    """The number within its bounds."""
    return min(max(replicas, bounds.min_replicas), bounds.max_replicas)


def end_of_part(now_seconds: float, calm_seconds: int) -> float:
    """When the present part of a calm time ends."""
    part_seconds = max(calm_seconds, 1) / PARTS
    return (now_seconds // part_seconds + 1) * part_seconds


def recent(needs: Sequence[Need], newest: Need, since_seconds: float) -> list[Need]:
    """The needs that count, the newest always: it joins what is known of its part of the calm time."""
    kept = [each for each in needs if each.until_seconds > since_seconds]
    if not kept or kept[-1].until_seconds != newest.until_seconds:
        return [*kept, newest]
    last = kept.pop()
    is_busy = last.is_busy and newest.is_busy
    return [*kept, Need(last.until_seconds, max(last.replicas, newest.replicas), is_busy)]
