"""How many workers a pool needs for its backlog: up at once, down only after a calm time. Pure but for its memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from appstack_operator.api import AppStack
from appstack_operator.api.backend import Worker, WorkerAutoscaling
from appstack_operator.desired.backend import workers_of
from appstack_operator.desired.workers import component_of_worker
from appstack_operator.observed import Observed

Key = tuple[str, str, str]  # namespace, stack, pool


@dataclass(frozen=True, slots=True)
class Need:
    """How many workers were needed at a moment."""

    at: datetime
    replicas: int


@dataclass(slots=True)
class ScalingMemory:
    """The needs of the last minutes of each pool. Lost with a restart, which only makes scaling down wait anew."""

    needs: dict[Key, list[Need]] = field(default_factory=dict)

    def forget(self, namespace: str, stack: str) -> None:
        """The stack is gone."""
        for key in [each for each in self.needs if each[:2] == (namespace, stack)]:
            del self.needs[key]


def scale_workers(stack: AppStack, seen: Observed, memory: ScalingMemory) -> dict[str, int]:
    """Pool -> number of workers, for the pools with autoscaling."""
    return {
        pool.name: scale_pool(stack, pool, pool.autoscaling, seen, memory)
        for pool in workers_of(stack)
        if pool.autoscaling
    }


def scale_pool(stack: AppStack, pool: Worker, bounds: WorkerAutoscaling, seen: Observed, memory: ScalingMemory) -> int:
    """The number for one pool; an unreadable backlog changes nothing."""
    current = replicas_of(stack, pool, bounds, seen)
    backlog = backlog_of(pool, seen)
    if backlog is None:
        return clamp(current, bounds)
    key = (stack.namespace, stack.name, pool.name)
    # A pool that is seen for the first time may have its number for a good reason: that counts as a need.
    needs = [*memory.needs.get(key, [Need(seen.now, current)]), Need(seen.now, needed(bounds, backlog))]
    memory.needs[key] = recent(needs, seen.now, bounds.scale_down_stabilization_seconds)
    return clamp(max(need.replicas for need in memory.needs[key]), bounds)


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


def recent(needs: Sequence[Need], now: datetime, seconds: int) -> list[Need]:
    """The needs of the last so many seconds, the newest always."""
    since = now - timedelta(seconds=seconds)
    return [need for need in needs[:-1] if need.at > since] + [needs[-1]]
