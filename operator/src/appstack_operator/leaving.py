"""How many members a data service keeps for now, where a spec asks for fewer: none goes that alone can lead. Pure.

They go one by one, the last one first: whoever leads has handed over to one that stays before the next one goes.
"""

from appstack_operator.api import AppStack
from appstack_operator.api.postgres import SynchronousReplication
from appstack_operator.assess.postgres import was_never_initialized
from appstack_operator.assess.redis import instance_of
from appstack_operator.assess.stateful import was_ever_complete
from appstack_operator.heirs import heirs, why_not
from appstack_operator.objects import Object
from appstack_operator.observed import Observed, RedisInstance
from appstack_operator.restarts import is_going, is_observed, ordinal, ordinal_of
from appstack_operator.volumes import members_with_volumes

# Component -> the field of its part of the spec that says how many members it has.
COUNTS = {"postgres": "instances", "redis": "replicas", "rabbitmq": "replicas"}


def stack_for_now(stack: AppStack, seen: Observed) -> AppStack:
    """The stack with as many members of its data services as it may have now."""
    counts = {name: count for name in members_with_volumes(stack) if (count := count_for_now(name, stack, seen))}
    parts = {name: getattr(stack.spec, name).model_copy(update={COUNTS[name]: count}) for name, count in counts.items()}
    return stack.model_copy(update={"spec": stack.spec.model_copy(update=parts)}) if parts else stack


def count_for_now(component: str, stack: AppStack, seen: Observed) -> int | None:
    """How many members one service keeps for now; None: as many as the spec asks for."""
    live = seen.get("StatefulSet", f"{stack.name}-{component}")
    if live is None:
        return None
    count = int(live["spec"]["replicas"])
    if component in seen.foreign_claims.values():
        return count
    if members_with_volumes(stack)[component] >= count or not has_to_lose(component, stack, seen):
        return None
    return count if why_last_member_stays(component, stack, seen, live) else count - 1


def has_to_lose(component: str, stack: AppStack, seen: Observed) -> bool:
    """Whether a member that goes may take with it what no other one has; RabbitMQ never shrinks."""
    if component == "postgres":
        return not was_never_initialized(stack, seen)
    return component == "redis" and (seen.redis.master is not None or was_ever_complete(stack.status.conditions))


def why_members_stay(component: str, stack: AppStack, seen: Observed) -> str:
    """Why a service has more members than the spec asks for; empty if it has not."""
    live, wanted = seen.get("StatefulSet", f"{stack.name}-{component}"), members_with_volumes(stack).get(component, 0)
    if live is None or not wanted or count_for_now(component, stack, seen) is None:
        return ""
    count = int(live["spec"]["replicas"])
    if count <= wanted:
        return ""
    why = why_last_member_stays(component, stack, seen, live)
    return f"{COUNTS[component]} {count} -> {wanted}: {why or 'one by one'}"


def why_last_member_stays(component: str, stack: AppStack, seen: Observed, stateful_set: Object) -> str:
    """Why the last member of a service cannot be taken away now; empty if it can."""
    count = int(stateful_set["spec"]["replicas"])
    if not is_observed(stateful_set) or any(is_going(pod) or ordinal_of(pod) >= count for pod in seen.pods(component)):
        return "another member is still on its way out"
    last = f"{stateful_set['metadata']['name']}-{count - 1}"
    return why_postgres_stays(last, stack, seen) if component == "postgres" else why_redis_stays(last, stack, seen)


def why_postgres_stays(last: str, stack: AppStack, seen: Observed) -> str:
    """Why PostgreSQL cannot do without its last member."""
    primary = seen.postgres.primary
    if primary is None or primary.state != "running":
        return f"{last} stays until one of the members leads"
    able, is_primary = heirs(stack, seen), primary.pod == last
    if is_primary and not able:
        return f"{last} is primary and stays until one of the others can take over: {why_not(stack, seen)}"
    # Where commits wait for a standby: who takes over needs one, and the only one does not go.
    is_required = stack.spec.postgres.synchronous_replication is SynchronousReplication.REQUIRED
    if is_required and (len(able) == 1 if is_primary else able == [last]):
        return f"{last} stays until another member is synchronous, or writes would wait: {why_not(stack, seen)}"
    return ""


def why_redis_stays(last: str, stack: AppStack, seen: Observed) -> str:
    """Why Redis cannot do without its last member: of those that stay one has to lead, and enough have to follow."""
    wanted, master = stack.spec.redis.replicas, instance_of(seen.redis.master, seen)
    if master is None or master.role != "master":
        return f"{last} stays until the Sentinels agree on a master that leads"
    staying = [each for each in seen.redis.instances if ordinal(each.pod) < wanted and each.pod != master.pod]
    following = [each for each in staying if is_following(each)]
    # Half of the group have to follow, or the master refuses writes; and one more, where one of them is to be master.
    needed = wanted // 2 + (ordinal(master.pod) >= wanted)
    if len(following) >= needed:
        return ""
    others = "; ".join(f"{each.pod}: {each.error or 'no link'}" for each in staying if each not in following)
    until = f"{last} stays until {needed} of those that stay follow {master.pod}, which is master"
    return f"{until}: {others or 'none is there'}"


def is_following(instance: RedisInstance) -> bool:
    """Whether it holds the master's data, and is linked to it."""
    return not instance.error and instance.role == "slave" and instance.link_up
