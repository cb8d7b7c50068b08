"""How many members a data service keeps for now, where a spec asks for fewer: none goes that alone can lead. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.assess.postgres import was_never_initialized
from appstack_operator.heirs import heirs, why_not
from appstack_operator.objects import Object
from appstack_operator.observed import Observed
from appstack_operator.restarts import is_going, is_observed, ordinal_of
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
    if component == "postgres" and stack.spec.postgres.instances < count and not was_never_initialized(stack, seen):
        return count if why_last_member_stays(stack, seen, live) else count - 1
    return None


def why_members_stay(stack: AppStack, seen: Observed) -> str:
    """Why PostgreSQL has more members than the spec asks for; empty if it has not.

    They go one by one, the last one first: whoever leads has handed over to one that stays before the next one goes.
    """
    live = seen.get("StatefulSet", f"{stack.name}-postgres")
    wanted = count_for_now("postgres", stack, seen)
    if live is None or wanted is None or (count := int(live["spec"]["replicas"])) <= stack.spec.postgres.instances:
        return ""
    why = why_last_member_stays(stack, seen, live)
    return f"instances {count} -> {stack.spec.postgres.instances}: {why or 'one by one'}"


def why_last_member_stays(stack: AppStack, seen: Observed, stateful_set: Object) -> str:
    """Why PostgreSQL's last member cannot be taken away now; empty if it can."""
    name, count = stateful_set["metadata"]["name"], int(stateful_set["spec"]["replicas"])
    if not is_observed(stateful_set) or any(is_going(pod) or ordinal_of(pod) >= count for pod in seen.pods("postgres")):
        return "another member is still on its way out"
    last, primary = f"{name}-{count - 1}", seen.postgres.primary
    if primary is None or primary.state != "running":
        return f"{last} stays until one of the members leads"
    if primary.pod != last or heirs(stack, seen):
        return ""
    return f"{last} is primary and stays until one of the others can take over: {why_not(stack, seen)}"
