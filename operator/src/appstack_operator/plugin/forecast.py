"""What a change of a stack leads to: the operator's own plan, each action with what differs. Pure."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pydantic import ValidationError

from appstack_operator.api import AppStack
from appstack_operator.assess.stack import assess_stack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.converge import build_context
from appstack_operator.desired.context import Context, Credentials, Parameters
from appstack_operator.desired.parameters import describe_refusals
from appstack_operator.desired.stack import Stage, Wanted, build_stack
from appstack_operator.gates import Gates
from appstack_operator.held_back import claims_are_free
from appstack_operator.kinds import Ref
from appstack_operator.objects import Object
from appstack_operator.observed import Observed
from appstack_operator.ownership import HASH, annotation, owned_part, stamped
from appstack_operator.placeholders import AnyAddress, placeholder_credentials
from appstack_operator.plan import Action, Impact, Verb, forecast, worst
from appstack_operator.plugin.differences import ABSENT, Difference, compare_manifests, shaped
from appstack_operator.scaling import ScalingMemory, scale_workers
from appstack_operator.settings import Settings
from appstack_operator.spread import describe_move

GOING = "the stack is being deleted: whatever its spec says, nothing more is done; apply it again once it is gone"


@dataclass(frozen=True, slots=True)
class Change:
    """One action, and what it changes in its object."""

    action: Action
    differences: Sequence[Difference] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """All that one manifest leads to."""

    stack: AppStack
    is_new: bool
    spec: Sequence[Difference]
    changes: Sequence[Change]
    notes: Sequence[str] = ()
    missing: Verdict | None = None  # what of the user's the stack would wait for
    taken: Verdict | None = None  # a volume of somebody else's that has the name of one of ours
    is_going: bool = False  # it is being deleted

    @property
    def is_blocked(self) -> bool:
        """Whether somebody has to act before the change can be carried out."""
        return self.missing is not None or self.taken is not None or self.is_going

    @property
    def impact(self) -> Impact:
        """The worst that happens."""
        return Impact.NO_OP if self.stack.spec.paused else worst([change.action for change in self.changes])


def build_forecast(stack: AppStack, live: Object | None, seen: Observed, settings: Settings) -> Forecast:
    """The way from what is there to what the stack asks for."""
    wanted = build_wanted(stack, seen, settings)
    before = stack_before(live)
    former = build_wanted(before, seen, settings) if before else []
    known = {Ref.of(item.manifest): item.manifest for item in former}
    context = context_of(stack, seen, settings)
    missing = assess_stack(stack, seen, context).missing_inputs
    gates = Gates({stage: missing.message for stage in Stage if stage >= Stage.ENVIRONMENT} if missing else {})
    is_going = live is not None and "deletionTimestamp" in live["metadata"]
    actions = [] if is_going else forecast(stack, wanted, seen, gates)
    changes = [Change(action, differences_of(action, known, seen)) for action in actions]
    present = spec_of(before) if before else (live or {}).get("spec")
    spec = compare_manifests({"spec": present}, {"spec": spec_of(stack)}) if live else []
    notes = [*[GOING] * is_going, *notes_of(stack, missing, context.parameters)]
    # Nobody is moved before all else is well: that is for the operator to say, who asks the services.
    if live and not changes and only_nodes_are_shared(live) and (move := describe_move(stack, seen)):
        notes.append(move)
    taken = next(iter(claims_are_free(stack, seen).values()), None)
    if taken:
        notes.append(f"{taken.reason.value}: {taken.message}")
    return Forecast(stack, live is None, spec, changes, notes, missing, taken, is_going)


def only_nodes_are_shared(live: Object) -> bool:
    """Whether the operator has found all well but where the pods run."""
    conditions = (live.get("status") or {}).get("conditions") or []
    return any(each["type"] == "HighlyAvailable" and each["reason"] == Reason.SHARED_NODE for each in conditions)


def stack_before(live: Object | None) -> AppStack | None:
    """The stack as it is; None where there is none, or an older CRD took what cannot be read any more."""
    with suppress(ValidationError):
        return AppStack.model_validate(live) if live else None
    return None


def spec_of(stack: AppStack) -> Object:
    """Its spec as a manifest has it, defaults written out."""
    return stack.spec.model_dump(by_alias=True, mode="json", exclude_none=True)


def build_wanted(stack: AppStack, seen: Observed, settings: Settings) -> list[Wanted]:
    """All objects of a stack; what only the operator can know has placeholders."""
    return build_stack(stack, context_of(stack, seen, settings))


def context_of(stack: AppStack, seen: Observed, settings: Settings) -> Context:
    """The operator's context, with an address for Services that are still to be made."""
    fresh: Credentials = placeholder_credentials()
    context = build_context(stack, seen, fresh, settings)
    workers = scale_workers(stack, seen, ScalingMemory())
    addresses = AnyAddress(context.addresses)
    parameters = as_if_taken(context.parameters or Parameters())
    return replace(context, addresses=addresses, worker_replicas=workers, parameters=parameters, pooler_is_door=True)


def as_if_taken(parameters: Parameters) -> Parameters:
    """The settings once PostgreSQL has been asked, where it refuses no more than it does now."""
    taken = {name: value for name, value in parameters.proposed.items() if name not in parameters.refused}
    refused = {name: value for name, value in parameters.proposed.items() if name in parameters.refused}
    return Parameters({**parameters.in_force, **taken}, refused, parameters.refused)


def notes_of(stack: AppStack, missing: Verdict | None, parameters: Parameters | None) -> list[str]:
    """What a reader has to know beside the actions."""
    notes = []
    if stack.spec.paused:
        notes.append("spec.paused is true: nothing of this is done until it is false")
    if missing:
        notes.append(f"{missing.reason.value}: {missing.message}: the backend stays as it is until then")
    if parameters and parameters.refused:
        notes.append(f"{Reason.PARAMETER_REFUSED.value}: {describe_refusals(stack, parameters)}")
    return notes


def differences_of(action: Action, former: dict[Ref, Object], seen: Observed) -> list[Difference]:
    """What a write changes in its object; a new object is new as a whole."""
    live = seen.get(action.target.kind, action.target.name)
    if action.verb is not Verb.APPLY or action.manifest is None or live is None:
        return []
    before = former.get(action.target)
    applied = annotation(live, HASH)
    if annotation(action.manifest, HASH) == applied:  # drift: the operator's content is the same
        return compare_manifests(shaped(live, action.manifest), action.manifest)
    # What was applied is known in full if this very code made it; else what of the object is the operator's.
    if before is not None and annotation(stamped(before), HASH) == applied:
        return compare_manifests(before, action.manifest)
    found = compare_manifests(owned_part(live), action.manifest)
    # Who created an object owns its defaults too: they are fields, not items of a list or a map, and they stay.
    return [each for each in found if each.after is not ABSENT or each.path.endswith("]")]
