"""Does the operator reach the data services at all? What it cannot see is not known; it is not away. Pure."""

from appstack_operator.assess.pods import is_ready
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.observed import Observed, PostgresMember, RedisInstance, SentinelAnswer

COMPONENTS = ("postgres", "redis", "redis-sentinel", "rabbitmq")


def pods_are_reached(component: str, seen: Observed) -> Verdict | None:
    """The operator is not cut off from pods that kubelet, which is nearer to them, finds ready."""
    ready = ready_pods(component, seen)
    if not ready or not is_cut_off(seen):
        return None
    return Verdict.unknown(
        Reason.PODS_UNREACHABLE,
        f"kubelet says that {', '.join(ready)} {'is' if len(ready) == 1 else 'are'} ready, and no pod of any data "
        "service answers the operator in time: it seems to be cut off from them",
    )


def is_cut_off(seen: Observed) -> bool:
    """Whether nobody answers, and all who are ready keep the operator waiting: who is away refuses at once."""
    ready = {name for component in COMPONENTS for name in ready_pods(component, seen)}
    members: list[PostgresMember | SentinelAnswer | RedisInstance] = [
        *seen.postgres.members,
        *seen.redis.sentinels,
        *seen.redis.instances,
    ]
    brokers = [seen.rabbitmq] if seen.pods("rabbitmq") else []  # they answer as one
    asked = [each for each in members if each.pod in ready] + (brokers if ready_pods("rabbitmq", seen) else [])
    return bool(asked) and all(each.is_late for each in asked) and all(each.error for each in (*members, *brokers))


def ready_pods(component: str, seen: Observed) -> list[str]:
    """The names of a component's pods that kubelet finds ready."""
    return [pod["metadata"]["name"] for pod in seen.pods(component) if is_ready(pod)]
