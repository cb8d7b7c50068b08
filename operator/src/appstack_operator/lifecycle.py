"""The end of a stack: owned children are collected by Kubernetes, the rest is kept or deleted as the spec says."""

import logging
from collections.abc import Container, Sequence
from datetime import datetime

from appstack_operator.api import AppStack, DeletionPolicy
from appstack_operator.api.base import GROUP
from appstack_operator.assess.verdict import Reason
from appstack_operator.client import Api, ApiError
from appstack_operator.desired.credentials import names_of_credentials
from appstack_operator.desired.postgres import COMPONENT, PATRONI_LABEL, scope
from appstack_operator.kinds import BY_NAME, STACK, Ref
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL, Object, is_claim_of, is_member
from appstack_operator.ownership import HASH, annotation
from appstack_operator.plan import belongs_to
from appstack_operator.restarts import is_going, is_observed

FINALIZER = f"{GROUP}/finalizer"
logger = logging.getLogger(__name__)

# A pod on a lost node stays for ever: the end of a stack does not wait for it longer than this.
PATIENCE_SECONDS = 120


async def hold(api: Api, live: Object) -> Object:
    """Put our finalizer on a stack before anything is made for it, so that its end can be a tidy one."""
    if FINALIZER in finalizers_of(live):
        return live
    return await set_finalizers(api, live, [*finalizers_of(live), FINALIZER])


async def end(api: Api, live: Object, now: datetime) -> bool:
    """One step towards the end of a stack that is being deleted; False while it has to be repeated."""
    if FINALIZER not in finalizers_of(live):
        return True  # somebody else's finalizer holds it
    if not await clean_up(api, live, now):
        return False
    await set_finalizers(api, live, [each for each in finalizers_of(live) if each != FINALIZER])
    return True


def finalizers_of(live: Object) -> list[str]:
    """Who wants to do something before the object goes."""
    return list(live["metadata"].get("finalizers") or [])


async def set_finalizers(api: Api, live: Object, finalizers: Sequence[str]) -> Object:
    """Change the finalizers of exactly what was seen: anybody's change in between is a conflict."""
    meta = live["metadata"]
    ref = Ref(STACK.name, meta["namespace"], meta["name"])
    patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": list(finalizers)}}
    return await api.patch(ref, patch)


async def clean_up(api: Api, live: Object, now: datetime) -> bool:
    """With deletionPolicy Delete, take away what has no owner. False while pods still have to end.

    With Retain, all of it is left for a stack of this name, Patroni's memory too: it knows which volume holds
    the newest data.
    """
    stack = AppStack.model_validate({"metadata": live["metadata"], "spec": policy_of(live)})
    if stack.spec.deletion_policy is DeletionPolicy.RETAIN:
        if not await volumes_are_kept(api, stack):
            await tell(api, live, "the volumes are released from what goes with the stack", now)
            return False
        logger.info("volumes and credentials are retained")
        return True
    if not await members_have_ended(api, stack, now):
        await tell(api, live, "volumes and credentials are deleted once PostgreSQL's pods have ended", now)
        return False
    await delete_all(api, await claims_of_stack(api, stack))
    await delete_all(api, await api.list(BY_NAME["ConfigMap"], stack.namespace, f"{PATRONI_LABEL}={scope(stack)}"))
    secrets = [*await api.list(BY_NAME["Secret"], stack.namespace, f"{STACK_LABEL}={stack.name}")]
    secrets += await unlabelled_credentials(api, stack)
    names = names_of_credentials(stack)  # a copy of one bears all that ours do, but the name
    await delete_all(api, [each for each in secrets if annotation(each, HASH) and each["metadata"]["name"] in names])
    return True


async def unlabelled_credentials(api: Api, stack: AppStack) -> list[Object]:
    """What no list finds, since somebody took the label off: passwords are nothing to leave behind."""
    found = [await api.get(Ref("Secret", stack.namespace, name)) for name in names_of_credentials(stack)]
    return [each for each in found if each and STACK_LABEL not in (each["metadata"].get("labels") or {})]


async def tell(api: Api, live: Object, message: str, now: datetime) -> None:
    """Say in status that the stack is going, and what it waits for, once."""
    message = message[:2000]
    status = live.get("status") or {}
    before = {each["type"]: each for each in status.get("conditions") or []}
    told = before.get("Ready", {})
    is_told = told.get("reason") == Reason.DELETING
    if is_told and told.get("message") == message:
        return
    going = {
        "reason": Reason.DELETING.value,
        "message": message,
        "lastTransitionTime": told["lastTransitionTime"] if is_told else now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observedGeneration": live["metadata"].get("generation", 0),
    }
    kept = [each for name, each in before.items() if name not in ("Ready", "Reconciling", "Stalled")]
    changed = [{"type": "Ready", "status": "False", **going}, {"type": "Reconciling", "status": "True", **going}]
    summary = {**status.get("summary", {}), "reason": Reason.DELETING.value, "message": message}
    meta = {key: live["metadata"][key] for key in ("name", "namespace", "uid")}
    wanted = {**status, "conditions": [*changed, *kept], "summary": summary}
    try:
        await api.apply(
            {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": meta, "status": wanted}, "status"
        )
    except ApiError as error:
        logger.warning("the deletion could not be told: %s", error.message)


async def members_have_ended(api: Api, stack: AppStack, now: datetime) -> bool:
    """Stop PostgreSQL first: a Patroni that still runs would make its ConfigMaps again."""
    for each in await sets_of(api, stack, COMPONENT):
        await api.delete(Ref.of(each), each["metadata"]["uid"])
    selector = f"{STACK_LABEL}={stack.name},{COMPONENT_LABEL}={COMPONENT}"
    found = await api.list(BY_NAME["Pod"], stack.namespace, selector)
    pods = [pod for pod in found if is_member(stack, pod)]
    deleted_at = datetime.fromisoformat(str(stack.metadata.deletion_timestamp))
    return not pods or (now - deleted_at).total_seconds() > PATIENCE_SECONDS


async def volumes_are_kept(api: Api, stack: AppStack) -> bool:
    """Whether no claim goes with its StatefulSet any more, as it does if deletionPolicy was Delete a moment ago."""
    sets = await sets_of(api, stack)
    for each in sets:
        if not keeps_volumes(each):
            policy: Object = {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}
            await api.patch(Ref.of(each), {"metadata": {"uid": each["metadata"]["uid"]}, "spec": policy})
    if not all(keeps_volumes(each) and is_observed(each) for each in sets if not is_going(each)):
        return False  # until its controller has seen that, it would make a StatefulSet the owner again
    for claim in await claims_of_stack(api, stack, {each["metadata"]["uid"] for each in sets}):
        meta = claim["metadata"]
        owners = meta.get("ownerReferences") or []
        others = [each for each in owners if each["kind"] != "StatefulSet"]
        if others != owners:
            patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "ownerReferences": others}}
            await api.patch(Ref.of(claim), patch)
    return True


def keeps_volumes(stateful_set: Object) -> bool:
    """Whether its claims stay when it goes, as they do without a word about it."""
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return bool(policy.get("whenDeleted", "Retain") == "Retain")


async def sets_of(api: Api, stack: AppStack, component: str = "") -> list[Object]:
    """The StatefulSets of the stack, or of one component: never one that only bears such a name."""
    labels = f"{STACK_LABEL}={stack.name}" + (f",{COMPONENT_LABEL}={component}" if component else "")
    found = await api.list(BY_NAME["StatefulSet"], stack.namespace, labels)
    return [each for each in found if belongs_to(stack, each)]


async def claims_of_stack(api: Api, stack: AppStack, sets: Container[str] = ()) -> list[Object]:
    """The claims of the stack's own pods: never one of the user's that only bears the stack's label.

    One that belongs to one of these StatefulSets (their uids) is ours whatever else somebody did to its labels.
    """
    found = await api.list(BY_NAME["PersistentVolumeClaim"], stack.namespace, f"{STACK_LABEL}={stack.name}")
    return [each for each in found if is_claim_of(stack, each) or any(uid in sets for uid in owners_of(each))]


def owners_of(obj: Object) -> list[str]:
    """The uids of who owns it."""
    return [str(each["uid"]) for each in obj["metadata"].get("ownerReferences") or []]


async def delete_all(api: Api, objects: Sequence[Object]) -> None:
    """Delete them, each once."""
    for obj in objects:
        if "deletionTimestamp" not in obj["metadata"]:  # a claim whose pod still ends is on its way already
            await api.delete(Ref.of(obj), obj["metadata"]["uid"])


def policy_of(live: Object) -> Object:
    """The one field that matters now: a spec that is otherwise invalid must not block its deletion."""
    policy = (live.get("spec") or {}).get("deletionPolicy")
    return {"deletionPolicy": policy} if policy in set(DeletionPolicy) else {}
