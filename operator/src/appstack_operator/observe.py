"""All reads of a pass: uncached lists by the stack's label and the answers of its services, in one Observed."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from appstack_operator.api import AppStack, Mode
from appstack_operator.assess.claims import is_overdue
from appstack_operator.assess.pods import claims_of, condition, is_ready
from appstack_operator.assess.reach import COMPONENTS
from appstack_operator.assess.refusals import lacking_pods
from appstack_operator.bridging import AnswerMemory
from appstack_operator.client import Api, ApiError
from appstack_operator.desired.context import Credentials
from appstack_operator.desired.credentials import decode, known_credentials, names_in_use
from appstack_operator.desired.references import named_by
from appstack_operator.kinds import BY_NAME, CHILDREN, EVENT, NODE, Kind, Ref
from appstack_operator.moments import moments_of
from appstack_operator.objects import STACK_LABEL, Object, component_of, is_claim_of, is_member, is_of_former_stack
from appstack_operator.observed import Node, Observed, PostgresAnswers, RabbitmqAnswers, RedisAnswers
from appstack_operator.ownership import HASH, annotation
from appstack_operator.services.external import ask_external
from appstack_operator.services.postgres import observe_postgres
from appstack_operator.services.rabbitmq import observe_external_queues, observe_rabbitmq
from appstack_operator.services.redis import observe_redis
from appstack_operator.spread import wants_nodes
from appstack_operator.volumes import claims_to_come

logger = logging.getLogger(__name__)

FORBIDDEN = 403


async def observe_answers(stack: AppStack, seen: Observed, fresh: Credentials, memory: AnswerMemory) -> Observed:
    """The second half of a look: what services say; `memory` bridges an answer that is late."""
    seen, answers = await asyncio.gather(
        observe_services(stack, seen, known_credentials(stack, seen, fresh), memory), ask_external(seen.external)
    )
    return replace(seen, external_answers=answers)


async def observe_kubernetes(api: Api, stack: AppStack, now: datetime) -> Observed:
    """What the API server knows of the stack; the services themselves are not asked."""
    async with api.looks:
        objects, unknown = await observe_objects(api, stack)
        # Not before the lists: a version that they tell of counts as read, and its content may not be older.
        external, references = await observe_inputs(api, stack)
        objects["Secret"] |= await observe_unlabelled_credentials(api, stack, objects["Secret"])
    moments = moments_of({**objects, "AppStack": {stack.name: stack.model_dump(by_alias=True, include={"metadata"})}})
    seen = Observed(objects, unknown, external=external, references=references, moments=moments, now=now)
    events, foreign = await asyncio.gather(observe_events(api, stack, seen), observe_foreign_claims(api, stack, seen))
    seen = replace(seen, events=events, foreign_claims=foreign)
    return await observe_nodes(api, seen) if wants_nodes(stack, seen) else seen


async def observe_foreign_claims(api: Api, stack: AppStack, seen: Observed) -> dict[str, str]:
    """Claims of others where a StatefulSet is to make its own: it would mount them. Asked for only then."""
    to_come = claims_to_come(stack, seen)
    found = await api.list(BY_NAME["PersistentVolumeClaim"], stack.namespace) if to_come else []
    names = [each["metadata"]["name"] for each in found if not is_claim_of(stack, each)]
    return {name: to_come[name] for name in sorted(names) if name in to_come}


async def observe_nodes(api: Api, seen: Observed) -> Observed:
    """The nodes of the cluster, where the operator may list them."""
    try:
        return replace(seen, nodes=tuple(map(node_of, await api.list(NODE, ""))))
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return replace(seen, are_nodes_hidden=True)


def node_of(obj: Object) -> Node:
    """What of a node counts."""
    spec, meta = obj.get("spec", {}), obj["metadata"]
    is_open = condition(obj, "Ready").get("status") == "True" and not spec.get("unschedulable")
    return Node(meta["name"], meta.get("labels") or {}, tuple(spec.get("taints") or ()), is_open)


async def observe_events(api: Api, stack: AppStack, seen: Observed) -> dict[tuple[str, str], list[Object]]:
    """What is told about claims that wait too long for a volume, and who may not create pods: on most days nothing."""
    waiting = {name for pod in seen.of_kind("Pod") if not is_ready(pod) for name in claims_of(pod)}
    claims = [claim for claim in seen.of_kind("PersistentVolumeClaim") if claim["metadata"]["name"] in waiting]
    late = {("PersistentVolumeClaim", each["metadata"]["name"]): each for each in claims if is_overdue(each, seen)}
    late |= {(kind, each["metadata"]["name"]): each for kind, each in lacking_pods(seen)}
    asked = (events_about(api, stack.namespace, str(each["metadata"]["uid"])) for each in late.values())
    return dict(zip(late, await asyncio.gather(*asked), strict=True))


async def events_about(api: Api, namespace: str, uid: str) -> list[Object]:
    """Events about one object; they only make a message better, and no pass fails for them."""
    try:
        return await api.list(EVENT, namespace, fields=f"regarding.uid={uid}")
    except ApiError as error:
        logger.warning("events could not be read: %s", error.message)
        return []


async def observe_objects(api: Api, stack: AppStack) -> tuple[dict[str, dict[str, Object]], frozenset[str]]:
    """Kind -> name -> object, of all kinds that a stack is made of; and those that the cluster does not know.

    What a former stack of this name has left tells nothing about this one: not that it runs, nor that it has migrated.
    """
    selector = f"{STACK_LABEL}={stack.name}"
    lists = await asyncio.gather(*(list_if_served(api, kind, stack.namespace, selector) for kind in CHILDREN))
    pairs = list(zip(CHILDREN, lists, strict=True))
    objects = {kind.name: own_by_name(stack, found or []) for kind, found in pairs}
    return objects, frozenset(kind.name for kind, found in pairs if found is None)


def own_by_name(stack: AppStack, found: Sequence[Object]) -> dict[str, Object]:
    """The objects of this very stack."""
    return {
        obj["metadata"]["name"]: obj
        for obj in found
        if not is_of_former_stack(stack, obj) and not is_strangers(stack, obj)
    }


def is_strangers(stack: AppStack, obj: Object) -> bool:
    """Whether a StatefulSet, or a pod with the labels of a data service's members, is none of the stack's by its name.

    `kubectl debug --copy-to --keep-labels` makes such pods.
    """
    if obj["kind"] == "StatefulSet":
        return obj["metadata"]["name"] not in {f"{stack.name}-{each}" for each in COMPONENTS}
    return obj["kind"] == "Pod" and component_of(obj) in COMPONENTS and not is_member(stack, obj)


async def list_if_served(api: Api, kind: Kind, namespace: str, selector: str) -> list[Object] | None:
    """All objects of a kind; None where an optional kind is not served."""
    try:
        return await api.list(kind, namespace, selector)
    except ApiError as error:
        if kind.is_optional and error.status == 404:
            return None
        raise


async def observe_unlabelled_credentials(api: Api, stack: AppStack, listed: Mapping[str, Object]) -> dict[str, Object]:
    """Our credentials that somebody took the label off: unseen, they would be generated anew."""
    names = [name for name in names_in_use(stack) if name not in listed]
    found = await asyncio.gather(*(api.get(Ref("Secret", stack.namespace, name)) for name in names))
    return {secret["metadata"]["name"]: secret for secret in found if secret and annotation(secret, HASH)}


Inputs = tuple[dict[str, Mapping[str, str] | None], dict[tuple[str, str], Mapping[str, str] | None]]


async def observe_inputs(api: Api, stack: AppStack) -> Inputs:
    """What the user's own Secrets and ConfigMaps hold: external services, and what env and envFrom name."""
    return await asyncio.gather(observe_external(api, stack), observe_references(api, stack))


async def observe_references(api: Api, stack: AppStack) -> dict[tuple[str, str], Mapping[str, str] | None]:
    """The content of what env and envFrom name."""
    names = sorted(named_by(stack))
    found = await asyncio.gather(*(api.get(Ref(kind, stack.namespace, name)) for kind, name in names))
    return {place: content_of(obj) if obj else None for place, obj in zip(names, found, strict=True)}


def content_of(obj: Object) -> dict[str, str]:
    """The data of a Secret or a ConfigMap, as it is kept: nobody needs to decode it."""
    return {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}


async def observe_external(api: Api, stack: AppStack) -> dict[str, Mapping[str, str] | None]:
    """The Secrets of the services that the operator does not run."""
    spec = stack.spec
    names = {
        component: service.external.secret_name
        for component, service in (("postgres", spec.postgres), ("redis", spec.redis), ("rabbitmq", spec.rabbitmq))
        if service.mode is Mode.EXTERNAL and service.external
    }
    secrets = await asyncio.gather(*(api.get(Ref("Secret", stack.namespace, name)) for name in names.values()))
    return {component: decode(secret) if secret else None for component, secret in zip(names, secrets, strict=True)}


async def observe_services(stack: AppStack, seen: Observed, credentials: Credentials, memory: AnswerMemory) -> Observed:
    """What the services themselves say; a first silence for which no former answer stands in is no silence yet."""
    answers = memory.bridged(await ask_services(stack, seen, credentials), time.monotonic())
    if memory.asks_again:
        answers = memory.bridged(await ask_services(stack, seen, credentials), time.monotonic())
    return answers


async def ask_services(stack: AppStack, seen: Observed, credentials: Credentials) -> Observed:
    """Each of them once; a service without pods has nothing to say."""
    broker = seen.external.get("rabbitmq")

    async def nothing() -> None:
        return None

    redis_pods = [*seen.pods("redis"), *seen.pods("redis-sentinel")]
    postgres, redis, rabbitmq = await asyncio.gather(
        observe_postgres(stack, pods, credentials) if (pods := seen.pods("postgres")) else nothing(),
        observe_redis(stack, redis_pods, announced(seen), credentials) if redis_pods else nothing(),
        observe_external_queues(broker)
        if broker
        else observe_rabbitmq(stack, pods, credentials)
        if (pods := seen.pods("rabbitmq"))
        else nothing(),
    )
    return replace(
        seen,
        postgres=postgres or PostgresAnswers(),
        redis=redis or RedisAnswers(),
        rabbitmq=rabbitmq or RabbitmqAnswers(),
    )


def announced(seen: Observed) -> dict[str, str]:
    """Service -> its address: those named like a pod are what that pod announces."""
    return {each["metadata"]["name"]: str(each["spec"].get("clusterIP", "")) for each in seen.of_kind("Service")}
