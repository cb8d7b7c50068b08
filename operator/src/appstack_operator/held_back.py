"""What of a spec waits although nothing stands before it, and why: a pass goes by the rest of the spec. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from appstack_operator.api import AppStack
from appstack_operator.assess.conditions import condition_of_component
from appstack_operator.assess.stack import Assessment, assess_stack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.context import Context
from appstack_operator.desired.credentials import PLACES, usable_edits
from appstack_operator.desired.stack import Stage
from appstack_operator.gates import set_gates
from appstack_operator.heirs import why_not
from appstack_operator.leaving import why_members_stay
from appstack_operator.objects import Object, component_of
from appstack_operator.observed import Observed
from appstack_operator.plan import Action, Verb
from appstack_operator.restarts import waiting_primary
from appstack_operator.volumes import members_with_volumes

# The passwords that the pods of the API and of the workers hold.
HELD_BY_BACKEND = {"postgres_app": "postgres", "rabbitmq": "rabbitmq"}


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
    return waiting


def sentences_of_waiting(stack: AppStack, seen: Observed, context: Context) -> Iterator[tuple[str, str]]:
    """Component -> what waits, for what."""
    for component in members_with_volumes(stack):
        if why := why_members_stay(component, stack, seen):
            yield component, why
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
