"""The only writer: performs a plan in its order, and can be killed between any two writes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from appstack_operator import metrics
from appstack_operator.api import AppStack
from appstack_operator.assess.verdict import Reason
from appstack_operator.client import MAY_NOT_WRITE, Api, ApiError
from appstack_operator.desired.postgres import PATRONI_LABEL, scope
from appstack_operator.kinds import Ref
from appstack_operator.objects import STACK_LABEL, Object, component_of, is_of_former_stack
from appstack_operator.ownership import HASH, annotation, entry_of_ours
from appstack_operator.plan import Action, Verb

# Pods start and serve without these; that one is missing is told all the same.
BESIDES = {"NetworkPolicy", "PodMonitor", "PrometheusRule"}
# Beside our own fields: what an object is to be says nothing of notes, and would take them away.
NOTES_MANAGER = "appstack-notes"
NOT_FOUND = 404
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """A write that did not succeed."""

    target: Ref
    component: str
    reason: Reason
    message: str
    is_passing: bool  # trying again may help by itself
    is_urgent: bool = True  # and soon


async def apply(stack: AppStack, actions: Sequence[Action], api: Api) -> list[Failure]:
    """Perform a plan; after a failure the stages behind it wait, where they may need what is missing."""
    failures: list[Failure] = []
    failed_stage = None
    for action in actions:
        if failed_stage is not None and action.stage > failed_stage:
            continue  # the plan ends with what needs nothing of all this: restarts of data services
        extra = {"action": action.verb.value, "target": str(action.target)}
        try:
            await perform(stack, action, api)
            count(action, "done")
            logger.info("%s", action, extra=extra)
        except ApiError as error:
            if error.reason == MAY_NOT_WRITE:
                raise  # nor what is left of the plan
            failures.append(failure_of(action, error))
            failed_stage = failed_stage if is_beside(action) else action.stage
            count(action, "failed")
            logger.warning("%s failed: %s", action, error.message, extra=extra)
    return failures


def is_beside(action: Action) -> bool:
    """Whether nothing else waits for it: a volume that cannot grow, a guard or a watcher of what serves without it."""
    return action.verb is Verb.GROW or action.target.kind in BESIDES


def count(action: Action, result: str) -> None:
    """Tell Prometheus."""
    metrics.ACTIONS.labels(action.verb.value, action.impact.name.lower().replace("_", "-"), result).inc()


def failure_of(action: Action, error: ApiError) -> Failure:
    """What a refused write means."""
    has_labels = action.manifest is not None and "metadata" in action.manifest
    component = component_of(action.manifest) if action.manifest and has_labels else ""
    if isinstance(error, ForeignObjectError):
        return Failure(action.target, component, Reason.FOREIGN_OBJECT, error.message, error.is_passing)
    if isinstance(error, LeftoverError):  # it passes by itself, and yet somebody wants to know why nothing is made
        return Failure(action.target, component, Reason.CREATING, error.message, is_passing=False)
    message = f"{action.verb.value} {action.target}: {error.message}"
    if action.verb is Verb.GROW:
        message = f"{action.target} cannot grow ({action.why}): {error.message}; nothing else waits for it"
    # A refused move leaves the stack as good as it was: a later pass comes back to it.
    is_move = action.verb is Verb.EVICT
    is_gone = error.status == NOT_FOUND and action.verb is not Verb.CREATE  # since it was looked at
    is_passing = error.is_passing or is_gone or is_move
    return Failure(action.target, component, Reason.APPLY_REFUSED, message, is_passing, is_urgent=not is_move)


class ForeignObjectError(ApiError):
    """An object of the wanted name exists and is not this stack's."""

    def __init__(self, ref: Ref) -> None:
        """Say what to do about it."""
        super().__init__(
            422, "ForeignObject", f"{ref} exists and does not belong to this stack; rename or delete it, or the stack"
        )


class LeftoverError(ApiError):
    """An object of the wanted name is that of a former stack, on its way out."""

    def __init__(self, ref: Ref) -> None:
        """Say what is waited for."""
        super().__init__(
            409, "Leftover", f"{ref} of a former stack of this name has to go first; Kubernetes collects it"
        )


async def perform(stack: AppStack, action: Action, api: Api) -> None:
    """One write."""
    if action.verb in (Verb.DELETE, Verb.RESTART):
        await api.delete(action.target, action.uid, grace_seconds=action.grace_seconds)
        return
    if action.verb is Verb.REPLACE:
        await api.delete(action.target, action.uid, propagation="Orphan")
        return
    assert action.manifest is not None
    if action.verb is Verb.EVICT:
        # What a budget refuses is no move, and leaves no note.
        await api.evict(action.target, action.uid, is_trial=True)
        # The note comes first: who dies in between tries this very pod again, and no other for an hour.
        await api.apply(action.manifest, manager=NOTES_MANAGER)
        await api.evict(action.target, action.uid)
    elif action.verb is Verb.CREATE:
        await create(stack, action, action.manifest, api)
    elif action.verb is Verb.MARK:
        await api.patch(action.target, change_of(action.manifest, action.uid), "status")
    elif action.verb in (Verb.SCALE, Verb.SUSPEND, Verb.GROW, Verb.LABEL):
        await api.patch(action.target, change_of(action.manifest, action.uid))
    else:
        await take_over_and_apply(action.manifest, action.uid, api)


async def create(stack: AppStack, action: Action, manifest: Object, api: Api) -> None:
    """Make a new object; what has the name already is only touched if it is the stack's own."""
    try:
        await api.create(manifest)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        ref = Ref.of(manifest)
        live = await api.get(ref)
        if live is None:
            raise  # gone meanwhile: the next pass makes it
        if is_of_former_stack(stack, live):
            raise LeftoverError(ref) from error
        # Ours without its label (somebody took it off), or kept for us by a former stack of this name.
        if not is_ours(stack, live):
            raise ForeignObjectError(ref) from error
        uid = live["metadata"]["uid"]
        if action.is_created_only:
            await api.patch(ref, change_of({"metadata": {"labels": manifest["metadata"]["labels"]}}, uid))
        else:
            await take_over_and_apply(manifest, uid, api, live)


def change_of(part: Object, uid: str) -> Object:
    """A change of a part of this very object."""
    return {**part, "metadata": {**part.get("metadata", {}), "uid": uid}}


def is_ours(stack: AppStack, live: Object) -> bool:
    """Whether the stack may go on with an object that it did not see in its lists."""
    owners = live["metadata"].get("ownerReferences") or []
    if any(owner.get("uid") == stack.metadata.uid for owner in owners):
        return True
    if owners:
        return False
    labels = live["metadata"].get("labels") or {}
    # Patroni makes its ConfigMaps again while a stack goes away under it; they are that stack's memory.
    is_patronis = labels.get(PATRONI_LABEL) == scope(stack)
    return is_patronis or (labels.get(STACK_LABEL, stack.name) == stack.name and bool(annotation(live, HASH)))


async def take_over_and_apply(manifest: Object, uid: str, api: Api, live: Object | None = None) -> None:
    """Server-side apply to this very object."""
    ref = Ref.of(manifest)
    live = live or await api.get(ref)
    if live is not None:
        await own_by_apply(ref, live, api)
        await hand_over_replicas(ref, manifest, live, api)
    await api.apply({**manifest, "metadata": {**manifest["metadata"], "uid": uid}})


async def own_by_apply(ref: Ref, live: Object, api: Api) -> None:
    """Turn our ownership from the creation (an Update) into that of an apply, or dropped fields would stay."""
    entry = entry_of_ours(live)
    if entry is None or entry["operation"] == "Apply":
        return
    meta = live["metadata"]
    entries = [{**each, "operation": "Apply"} if each is entry else each for each in meta["managedFields"]]
    await api.patch(
        ref,
        [
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            # Not a "test": who was faster then is a conflict, which passes, and not a patch that cannot be carried out.
            {"op": "replace", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
        ],
    )


async def hand_over_replicas(ref: Ref, manifest: Object, live: Object, api: Api) -> None:
    """Before an HPA takes the replicas over: dropping them from an apply alone would reset them to 1."""
    if ref.kind != "Deployment" or "replicas" in manifest["spec"]:
        return
    entry = entry_of_ours(live)
    if entry and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}):
        keep = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": ref.name, "namespace": ref.namespace},
        }
        await api.apply({**keep, "spec": {"replicas": live["spec"]["replicas"]}}, manager="appstack-handover")
