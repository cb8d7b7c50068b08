"""What of a spec waits although nothing stands before it, and why: a pass goes by the rest of the spec. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.observed import Observed
from appstack_operator.plan import Action, Verb
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
    if live is not None and component in seen.foreign_claims.values():
        return int(live["spec"]["replicas"])
    return None


def may_begin(action: Action, stack: AppStack, seen: Observed) -> bool:
    """Whether a StatefulSet may be made: it would mount whatever bears the names of its claims."""
    is_new_set = action.verb is Verb.CREATE and action.target.kind == "StatefulSet"
    return not is_new_set or action.target.name.removeprefix(f"{stack.name}-") not in seen.foreign_claims.values()


def claims_are_free(stack: AppStack, seen: Observed) -> dict[str, Verdict]:
    """Component -> the claim of somebody else that its StatefulSet would take for its own; empty where all are free."""
    return {
        component: Verdict.false(
            Reason.FOREIGN_OBJECT,
            f"PersistentVolumeClaim {claim} exists and does not belong to this stack; StatefulSet "
            f"{stack.name}-{component} would take over what is on it. Delete it if nobody needs that, or make the "
            "stack under another name",
        )
        for claim, component in sorted(seen.foreign_claims.items(), reverse=True)
    }
