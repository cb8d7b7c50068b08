"""What goes wrong with a stack on a stage for as long as a block runs, as kubelet, controllers and services tell it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx

from appstack_operator.desired.parameters import ANNOTATION
from appstack_operator.kinds import STACK
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL
from appstack_operator.services.redis import TIMEOUT_SECONDS
from tests.apiserver.kit.cast import NOON
from tests.apiserver.kit.life import BACKEND, MANAGED_SPEC, NAME
from tests.apiserver.kit.stage import NODES, Clock, Stage, container_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    Trouble = Callable[[Stage], AbstractAsyncContextManager[None]]

WORKERS = {"name": "bulk", "queues": ["bulk"], "autoscaling": {"minReplicas": 2, "maxReplicas": 4}}
SPEC: dict[str, Any] = {
    **MANAGED_SPEC,
    "deletionPolicy": "Delete",
    "backend": {**BACKEND, "api": {"replicas": 2}, "workers": [WORKERS]},
}
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/appstacks.appstack.dev"
NOT_READY = {"type": "Ready", "status": "False"}
AT_ONCE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}


@asynccontextmanager
async def nothing(stage: Stage) -> AsyncIterator[None]:
    yield


def told(kind: str, name: str, **changes: Any) -> Trouble:
    """A controller or kubelet tells something else for a while."""

    @asynccontextmanager
    async def trouble(stage: Stage) -> AsyncIterator[None]:
        before = (await stage.get(kind, name))["status"]
        await stage.put_status(kind, name, {**before, **changes})
        try:
            yield
        finally:
            await stage.put_status(kind, name, before)

    return trouble


def waiting(pod: str, reason: str, message: str, **more: Any) -> Trouble:
    """The API's container does not come up."""
    state = container_status("api", {"waiting": {"reason": reason, "message": message}}, **more)
    return told("Pod", pod, conditions=[NOT_READY], containerStatuses=[state])


def answered(*pods: str, **facts: Any) -> Trouble:
    """Services of pods tell something else for a while."""

    @asynccontextmanager
    async def trouble(stage: Stage) -> AsyncIterator[None]:
        troubles = stage.cast.responders.troubles
        for pod in pods:
            troubles[stage.namespace, pod] = facts
        try:
            yield
        finally:
            for pod in pods:
                del troubles[stage.namespace, pod]

    return trouble


def wished(change: dict[str, Any], back: dict[str, Any]) -> Trouble:
    """The spec is another one for a while."""

    @asynccontextmanager
    async def trouble(stage: Stage) -> AsyncIterator[None]:
        await stage.change_spec(**change)
        try:
            yield
        finally:
            await stage.change_spec(**back)

    return trouble


def later(trouble: Trouble = nothing, **time: int) -> Trouble:
    """It is later than it was."""

    @asynccontextmanager
    async def then(stage: Stage) -> AsyncIterator[None]:
        async with trouble(stage):
            Clock.ahead = timedelta(**time)
            try:
                yield
            finally:
                Clock.ahead = timedelta()

    return then


def made(spec: dict[str, Any], **secrets: dict[str, str]) -> Trouble:
    """A new stack."""

    @asynccontextmanager
    async def trouble(stage: Stage) -> AsyncIterator[None]:
        for name, data in secrets.items():
            await stage.make("Secret", name, stringData=data)
        await stage.make_stack(spec)
        yield

    return trouble


def with_redis_of(secret: str, **data: str) -> Trouble:
    """A new stack whose Redis is somebody else's."""
    spec = {"redis": {"mode": "External", "external": {"secretName": secret}}}
    return made(spec, **({secret: data} if data else {}))


@asynccontextmanager
async def a_quota(stage: Stage) -> AsyncIterator[None]:
    """What a quota leads to: the Deployment's controller says so, in status and in an event."""
    said = f'pods "{NAME}-api-x" is forbidden: exceeded quota: few'
    await stage.ask("POST", f"/api/v1/namespaces/{stage.namespace}/resourcequotas", json={"metadata": {"name": "few"}})
    involved = {"kind": "ReplicaSet", "namespace": stage.namespace, "name": f"{NAME}-api"}
    event = {"involvedObject": involved, "reason": "FailedCreate", "message": said, "type": "Warning"}
    path = f"/api/v1/namespaces/{stage.namespace}/events"
    await stage.ask("POST", path, json={"metadata": {"name": "refused"}, **event})
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": said}
    async with told("Deployment", f"{NAME}-api", conditions=[refused])(stage):
        yield


@asynccontextmanager
async def a_shared_node(stage: Stage) -> AsyncIterator[None]:
    """The second API pod has come back on the node of the first."""
    for node in (NODES[0], NODES[1]):
        pod = await stage.get("Pod", f"{NAME}-api-1")
        path = stage.path("Pod", f"{NAME}-api-1")
        await stage.ask("DELETE", path, json=AT_ONCE)
        kept = {key: pod["metadata"][key] for key in ("name", "labels", "annotations") if key in pod["metadata"]}
        spec = {**pod["spec"], "nodeName": node}
        await stage.ask("POST", stage.path("Pod"), json={"metadata": kept, "spec": spec})
        await stage.put_status("Pod", f"{NAME}-api-1", pod["status"])
        if node == NODES[0]:
            yield


@asynccontextmanager
async def an_api_scaled_to_nothing(stage: Stage) -> AsyncIterator[None]:
    """An autoscaler is in charge of the API, and somebody has set it to none: all that is wanted is there."""
    api = {"backend": {"api": {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}}}
    async with wished(api, {"backend": {"api": {"autoscaling": None}}})(stage):
        await stage.look()
        await stage.change("Deployment", f"{NAME}-api", {"spec": {"replicas": 0}})
        off = [told("Pod", f"{NAME}-api-{number}", conditions=[NOT_READY]) for number in (0, 1)]
        async with off[0](stage), off[1](stage):
            yield
    await stage.change("Deployment", f"{NAME}-api", {"spec": {"replicas": 2}})


@asynccontextmanager
async def an_autoscaler_without_metrics(stage: Stage) -> AsyncIterator[None]:
    """The controller of autoscalers finds no metrics API."""
    api = {"backend": {"api": {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}}}
    said = "the HPA was unable to compute the replica count: unable to fetch metrics from resource metrics API"
    blind = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": said}
    blind |= {"lastTransitionTime": NOON}
    async with wished(api, {"backend": {"api": {"autoscaling": None}}})(stage):
        await stage.look()
        status = {"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": None, "conditions": [blind]}
        await stage.put_status("HorizontalPodAutoscaler", f"{NAME}-api", status)
        yield
    await stage.look()  # the autoscaler goes


@asynccontextmanager
async def a_failed_run(stage: Stage) -> AsyncIterator[None]:
    """The nightly job has run once, and failed."""
    job = await stage.get("CronJob", f"{NAME}-nightly")
    labels = {STACK_LABEL: NAME, COMPONENT_LABEL: "cron-nightly"}
    await stage.make("Job", f"{NAME}-nightly-1", metadata={"labels": labels}, spec=job["spec"]["jobTemplate"]["spec"])
    await stage.fail_job(f"{NAME}-nightly-1", "no such table")
    try:
        yield
    finally:
        for kind, name in (("Job", f"{NAME}-nightly-1"), ("Pod", f"{NAME}-nightly-1-x")):
            await stage.ask("DELETE", stage.path(kind, name), json=AT_ONCE)


@asynccontextmanager
async def a_silence(stage: Stage) -> AsyncIterator[None]:
    """Connections are taken, and no service says anything in time."""
    responders = stage.cast.responders
    responders.delay_seconds = TIMEOUT_SECONDS + 1
    try:
        await stage.look()  # once, the last good answers stand in
        yield
    finally:
        responders.delay_seconds = 0.0


@asynccontextmanager
async def a_password_that_is_refused(stage: Stage) -> AsyncIterator[None]:
    """The broker lets nobody ask for the length of its queues."""
    passwords, key = stage.cast.responders.passwords, (stage.namespace, NAME, "rabbitmq")
    before = passwords[key]
    passwords[key] = "another"
    try:
        yield
    finally:
        passwords[key] = before


@asynccontextmanager
async def a_partition(stage: Stage) -> AsyncIterator[None]:
    """A node lists another one; the operator's cure is a restart of its pod, which no kubelet carries out here."""
    pod = f"{NAME}-rabbitmq-0"
    async with answered(pod, partitions=[f"rabbit@{NAME}-rabbitmq-1"])(stage):
        yield
    await stage.ask("DELETE", stage.path("Pod", pod), json=AT_ONCE)
    await stage.cast.play()


@asynccontextmanager
async def a_refused_parameter(stage: Stage) -> AsyncIterator[None]:
    """A database that runs is asked for what PostgreSQL does not take; the agents of its members say so."""
    await stage.change_spec(postgres={"parameters": {"work_mem": "5MB"}})
    await stage.look()
    await answer_about(stage, {"work_mem": "5MB"})
    await stage.look()
    assert (await stage.postgres_settings())["work_mem"] == "5MB"
    await stage.change_spec(postgres={"parameters": {"work_mem": "banana", "log_lock_waits": "on"}})
    await stage.look()
    assert (await stage.postgres_settings())["work_mem"] == "5MB", "nobody has looked yet"
    said = 'invalid value for parameter "work_mem": "banana"'
    await answer_about(stage, {"work_mem": "banana", "log_lock_waits": "on"}, work_mem=["banana", said])
    try:
        yield
        found = await stage.postgres_settings()
        assert (found["work_mem"], found["log_lock_waits"]) == ("5MB", "on"), "what is good is set all the same"
    finally:
        await stage.change_spec(postgres={"parameters": None})
        await stage.look()


def annotate(**annotations: str | None) -> dict[str, Any]:
    """A change of annotations."""
    return {"metadata": {"annotations": annotations}}


async def answer_about(stage: Stage, checked: dict[str, str], **refused: list[str]) -> None:
    """What the agents beside all members of PostgreSQL say."""
    said = json.dumps({"checked": checked, "refused": refused})
    for number in range(2):
        await stage.change("Pod", f"{NAME}-postgres-{number}", annotate(**{ANNOTATION: said}))


@asynccontextmanager
async def a_foreign_service(stage: Stage) -> AsyncIterator[None]:
    """Somebody has a Service of a name that the stack needs; nobody writes to it."""
    theirs = await stage.make("Service", f"{NAME}-redis-0", spec={"ports": [{"port": 80}]})
    async with made({})(stage):
        await stage.look()
        yield
    assert await stage.get("Service", f"{NAME}-redis-0") == theirs


@asynccontextmanager
async def a_running_migration(stage: Stage) -> AsyncIterator[None]:
    """The data services are ready, the migration has begun."""
    await stage.make_stack({**SPEC, "postgres": {"instances": 1}, "redis": {"replicas": 1, "sentinels": 1}})
    for _ in range(20):
        await stage.cast.play()
        await stage.look()
        with suppress(ValueError):
            job = await stage.migration_job()
            await stage.make_pod_of(await stage.get("Job", job))
            yield
            return
    raise AssertionError("no migration was begun")


@asynccontextmanager
async def a_failed_migration(stage: Stage) -> AsyncIterator[None]:
    async with a_running_migration(stage):
        job = await stage.migration_job()
        await stage.ask("DELETE", stage.path("Pod", f"{job}-x"), json=AT_ONCE)
        await stage.fail_job(job, "column price exists")
        yield


@asynccontextmanager
async def a_deletion(stage: Stage) -> AsyncIterator[None]:
    """PostgreSQL's pods have not ended yet."""
    await stage.make_stack(SPEC)
    for _ in range(2):
        await stage.look()
        await stage.cast.play()
    await stage.ask("DELETE", stage.path(STACK.name, NAME))
    yield


@asynccontextmanager
async def a_volume_that_cannot_grow(stage: Stage) -> AsyncIterator[None]:
    """Only a claim that is bound to a volume may ask for more."""
    await stage.make_stack(SPEC)
    await stage.look()
    await stage.cast.play()
    await stage.change_spec(postgres={"storage": {"size": "90Gi"}})
    yield


TOO_MANY = {"backend": {"api": {"replicas": 1001}}}


@asynccontextmanager
async def an_older_crd(stage: Stage) -> AsyncIterator[None]:
    """A stack that the operator cannot carry out."""
    async with a_crd_without_a_limit(stage):
        await stage.make_stack(TOO_MANY)
        yield


@asynccontextmanager
async def a_crd_without_a_limit(stage: Stage) -> AsyncIterator[None]:
    """A CRD that knew no bound takes what the operator cannot carry out."""
    schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/backend/properties/api/properties"
    place = f"{schema}/replicas/maximum"
    headers = {"Content-Type": "application/json-patch+json"}
    await stage.ask("PATCH", CRD, json=[{"op": "remove", "path": place}], headers=headers)
    probe = {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": "probe"}, "spec": TOO_MANY}
    try:
        await until_answered(stage, probe, httpx.codes.CREATED)
        yield
    finally:
        await stage.ask("PATCH", CRD, json=[{"op": "add", "path": place, "value": 1000}], headers=headers)
        await until_answered(stage, probe, httpx.codes.UNPROCESSABLE_ENTITY)


async def until_answered(stage: Stage, stack: dict[str, Any], code: int) -> None:
    """Until the changed CRD is in force, and lists are answered: 429 until the API server has its new cache of them."""
    async with asyncio.timeout(60):
        while True:
            answer = await stage.cast.client.post(f"{stage.path(STACK.name)}?dryRun=All", json=stack)
            listed = await stage.cast.client.get(stage.path(STACK.name))
            if answer.status_code == code and listed.is_success:
                return
            await asyncio.sleep(0.1)
