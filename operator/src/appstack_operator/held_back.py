"""What of a spec waits although nothing stands before it, and why: a pass goes by the rest of the spec. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from appstack_operator.api import AppStack
from appstack_operator.assess.conditions import condition_of_component
from appstack_operator.assess.postgres import was_never_initialized
from appstack_operator.assess.stack import Assessment, assess_stack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.context import Context
from appstack_operator.desired.credentials import PLACES, usable_edits
from appstack_operator.desired.stack import Stage
from appstack_operator.gates import set_gates
from appstack_operator.heirs import heirs, why_not
from appstack_operator.objects import Object, component_of
from appstack_operator.observed import Observed
from appstack_operator.plan import Action, Verb
from appstack_operator.restarts import is_going, is_observed, ordinal_of, waiting_primary
from appstack_operator.volumes import members_with_volumes

# The passwords that the pods of the API and of the workers hold.
HELD_BY_BACKEND = {"postgres_app": "postgres", "rabbitmq": "rabbitmq"}
# Component -> the field of its part of the spec that says how many members it has.
COUNTS = {"postgres": "instances", "redis": "replicas", "rabbitmq": "replicas"}


def verdicts_of_waiting(
    stack: AppStack, seen: Observed, context: Context, assessment: Assessment
) -> dict[str, Verdict]:
    """Component -> what of it is held back, and until when; after what is wrong with it, where something is."""
    sentences: dict[str, str] = {}
    for component, sentence in sentences_of_waiting(stack, seen, context):
        sentences[component] = f"{sentences[component]}; {sentence}" if component in sentences else sentence
    waiting = {}
    for component, sentence in sentences.items():
        verdict = assessment.verdicts[condition_of_component(component)]
        waiting[component] = (
            Verdict.true(Reason.ROLLOUT_IN_PROGRESS, sentence)
            if verdict.is_true
            else replace(verdict, message=f"{verdict.message}; {sentence}")
        )
    return waiting | claims_are_free(stack, seen)


def sentences_of_waiting(stack: AppStack, seen: Observed, context: Context) -> Iterator[tuple[str, str]]:
    """Component -> what waits, for what."""
    if why := why_members_stay(stack, seen):
        yield "postgres", why
    if primary := waiting_primary(stack, seen):
        until = f"it is replaced once another member can take over: {why_not(stack, seen)}"
        yield "postgres", f"{primary} is primary and of the old template; {until}"
    for field, why in context.waiting_edits.items():
        until = f"once the pods that hold the former one can be replaced: {why}"
        yield HELD_BY_BACKEND[field], f"Secret {stack.name}-{PLACES[field][0]}: the edited password is set {until}"


def edits_that_wait(stack: AppStack, seen: Observed, context: Context) -> dict[str, str]:
    """Field -> why its edited password is not set yet.

    The pods of the backend hold the former one: once it is not in force, they serve nobody until others replace them.
    """
    edited = HELD_BY_BACKEND.keys() & usable_edits(stack, seen, context.credentials).keys()
    if not edited or not any(runs_users_image(pod) for pod in seen.of_kind("Pod")):
        return {}
    assessment = assess_stack(stack, seen, context)
    rollout = "" if assessment.old_pods_are_gone else "the API and the workers are still being rolled out"
    why = set_gates(assessment).closed.get(Stage.BACKEND, rollout)
    return dict.fromkeys(sorted(edited), why) if why else {}


def runs_users_image(pod: Object) -> bool:
    """Whether it is one of the API's or of a pool's, also of one that the spec no longer asks for."""
    return component_of(pod) == "api" or component_of(pod).startswith("worker-")


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
