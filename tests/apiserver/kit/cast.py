"""Plays what a bare API server lacks: controllers, kubelet and garbage collector. `responders.py` plays the services.

Everything is scripted to succeed at once and to bear the same names in every run, so that two runs can be compared.
"""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx

from appstack_operator.desired.context import RECORD
from appstack_operator.desired.credentials import CONTROLLERS
from appstack_operator.desired.parameters import ANNOTATION as PARAMETERS
from appstack_operator.desired.postgres import PATRONI_LABEL
from appstack_operator.kinds import BY_NAME, CHILDREN, STACK, Kind
from appstack_operator.objects import ROLE_LABEL, STACK_LABEL, Object, component_of, content_hash
from appstack_operator.restarts import REVISION_LABEL
from tests.apiserver.kit.responders import PORTS, Member, Responders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

Objects = list[Object]  # in Cast, `list` is what a cluster is asked for
PAUSE_SECONDS = 0.15
MERGE = {"Content-Type": "application/merge-patch+json"}
ROLES = {"postgres": "primary", "redis": "master"}
NOON = "2026-01-01T12:00:00Z"
NO_SERVICE_ACCOUNT = "error looking up service account"


class Cast:
    """Moves the objects of one namespace on, as a healthy cluster would."""

    def __init__(self, client: httpx.AsyncClient, namespace: str, responders: Responders) -> None:
        self.client = client
        self.namespace = namespace
        self.responders = responders
        self.playing_task: asyncio.Task[None] | None = None
        self.expects_migrations = False

    async def list(self, kind: Kind) -> Objects:
        answer = await self.client.get(kind.path(self.namespace))
        # 429: the kind is just being made.
        if kind.is_optional and answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.TOO_MANY_REQUESTS):
            return []
        answer.raise_for_status()
        return [{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in answer.json()["items"]]

    async def create(self, obj: Object, **query: str) -> None:
        answer = await self.client.post(BY_NAME[obj["kind"]].path(self.namespace), json=obj, params=query)
        # Its ServiceAccount is still to come: Kubernetes' controllers come back then, too.
        is_too_early = answer.status_code == httpx.codes.FORBIDDEN and NO_SERVICE_ACCOUNT in answer.text
        if answer.status_code != httpx.codes.CONFLICT and not is_too_early:
            answer.raise_for_status()

    async def patch(self, obj: Object, change: Object, subresource: str = "") -> None:
        path = BY_NAME[obj["kind"]].path(self.namespace, obj["metadata"]["name"])
        change.setdefault("metadata", {})["uid"] = obj["metadata"]["uid"]
        answer = await self.client.patch(f"{path}{subresource}", json=change, headers=MERGE)
        if answer.status_code not in (httpx.codes.CONFLICT, httpx.codes.NOT_FOUND):
            answer.raise_for_status()

    async def delete(self, obj: Object) -> None:
        path = BY_NAME[obj["kind"]].path(self.namespace, obj["metadata"]["name"])
        options: dict[str, Any] = {"preconditions": {"uid": obj["metadata"]["uid"]}, "propagationPolicy": "Background"}
        if obj["kind"] == "Pod":  # on a node, too: no kubelet would end it
            options["gracePeriodSeconds"] = 0
        answer = await self.client.request("DELETE", path, json=options)
        if answer.status_code not in (httpx.codes.CONFLICT, httpx.codes.NOT_FOUND):
            answer.raise_for_status()

    async def play(self) -> None:
        """One round of everybody."""
        await self.collect_garbage()
        pods = await self.list(BY_NAME["Pod"])
        await self.tell_responders(pods)
        for workload in [*await self.list(BY_NAME["Deployment"]), *await self.list(BY_NAME["StatefulSet"])]:
            adopted = await self.adopt(workload, pods) if workload["kind"] == "StatefulSet" else []
            await self.run_workload(workload, [*adopted, *(pod for pod in pods if is_owned_by(pod, workload))])
        await self.speak_for_patroni()
        for job in await self.list(BY_NAME["Job"]):
            if not job.get("status", {}).keys() & {"succeeded", "failed"}:
                await self.patch(job, {"status": succeeded()}, "/status")

    async def speak_for_patroni(self) -> None:
        """Once a member runs, there is a database; the agents beside them find every proposed setting good."""
        pods = [pod for pod in await self.list(BY_NAME["Pod"]) if component_of(pod) == "postgres"]
        for config in await self.list(BY_NAME["ConfigMap"]):
            notes = config["metadata"].get("annotations") or {}
            members = [pod for pod in pods if config["metadata"]["name"] == f"{pod_set(pod)}-config"]
            if not members or "config" not in notes:
                continue
            if "initialize" not in notes:
                await self.patch(config, {"metadata": {"annotations": {"initialize": "7"}}})
            proposed = json.loads(notes["config"]).get("appstack", {}).get("proposed")
            report = json.dumps({"checked": proposed}) if proposed else None
            for pod in members:
                if (pod["metadata"].get("annotations") or {}).get(PARAMETERS) != report:
                    await self.patch(pod, {"metadata": {"annotations": {PARAMETERS: report}}})

    async def collect_garbage(self) -> None:
        """Delete what has lost its owner (dependents are listed first); let go of claims without a pod."""
        objects: Objects = []
        for kind in (*reversed(CHILDREN), STACK):
            objects += await self.list(kind)
        for obj in objects:
            if "orphan" in obj["metadata"].get("finalizers", []) and "deletionTimestamp" in obj["metadata"]:
                await self.orphan(obj, objects)
        alive = {obj["metadata"]["uid"] for obj in objects}
        volumes = [volume for obj in objects if obj["kind"] == "Pod" for volume in obj["spec"].get("volumes", [])]
        used = {volume.get("persistentVolumeClaim", {}).get("claimName") for volume in volumes}
        for obj in objects:
            owners = obj["metadata"].get("ownerReferences") or []
            is_going = "deletionTimestamp" in obj["metadata"]
            if obj["kind"] == "PersistentVolumeClaim" and is_going and obj["metadata"]["name"] not in used:
                await self.patch(obj, {"metadata": {"finalizers": None}})
            elif owners and not is_going and not any(owner["uid"] in alive for owner in owners):
                await self.delete(obj)

    async def tell_responders(self, pods: Objects) -> None:
        """Which pods are left, and which passwords and announced addresses their services have."""
        names = {pod["metadata"]["name"] for pod in pods}
        for address, member in list(self.responders.members.items()):
            if member.namespace == self.namespace and member.pod not in names:
                await self.responders.leave(address)
        for secret in await self.list(BY_NAME["Secret"]):
            stack, _, last_name = secret["metadata"]["name"].rpartition("-")
            in_force = secret.get("data", {}) if last_name == RECORD else {}
            for service in in_force.keys() & {"redis", "rabbitmq"}:
                password = base64.b64decode(in_force[service]).decode()
                self.responders.passwords[self.namespace, stack, service] = password
        for service in await self.list(BY_NAME["Service"]):
            key = (self.namespace, service["metadata"]["name"])
            self.responders.announced[key] = service["spec"].get("clusterIP", "")

    async def address_of(self, pod: Object) -> str:
        """Where the pod listens."""
        component = component_of(pod)
        if component not in PORTS:
            return "127.0.0.1"  # nobody asks it
        stack, name = pod["metadata"]["labels"][STACK_LABEL], pod["metadata"]["name"]
        return await self.responders.join(Member(self.namespace, stack, component, name))

    async def orphan(self, owner: Object, objects: Objects) -> None:
        """Let an owner go that leaves its dependents behind."""
        for obj in objects:
            if is_owned_by(obj, owner):
                await self.patch(obj, {"metadata": {"ownerReferences": None}})
        await self.patch(owner, {"metadata": {"finalizers": None}})

    async def adopt(self, workload: Object, pods: Objects) -> Objects:
        """A StatefulSet takes over the pods of its names that nobody owns."""
        left = [pod for pod in pods if not pod["metadata"].get("ownerReferences")]
        start = f"{workload['metadata']['name']}-"
        ours = [pod for pod in left if pod["metadata"]["name"].removeprefix(start).isdigit()]
        for pod in ours:
            await self.patch(pod, {"metadata": {"ownerReferences": [reference_to(workload)]}})
        return ours

    async def run_workload(self, workload: Object, pods: Objects) -> None:
        """As many ready pods as wanted; a Deployment's are replaced at once, a StatefulSet's when deleted."""
        name, wanted = workload["metadata"]["name"], workload["spec"].get("replicas", 1)
        revision = content_hash(workload["spec"]["template"], length=10)
        names = [f"{name}-{number}" for number in range(wanted)]
        is_set = workload["kind"] == "StatefulSet"
        for pod in pods:
            is_old = not is_set and pod["metadata"]["labels"][REVISION_LABEL] != revision
            if is_old or pod["metadata"]["name"] not in names:
                await self.delete(pod)
        if is_set:
            await self.make_volumes(workload, names)
        here = {pod["metadata"]["name"]: pod for pod in pods}
        for pod_name in names:
            if pod_name not in here or (
                not is_set and here[pod_name]["metadata"]["labels"][REVISION_LABEL] != revision
            ):
                await self.check_migration(workload)
                await self.create(build_pod(workload, pod_name, revision))
        for pod in await self.list(BY_NAME["Pod"]):
            if is_owned_by(pod, workload) and not pod["status"].get("podIP"):
                await self.patch(pod, {"status": running(await self.address_of(pod))}, "/status")
        now = [pod for pod in await self.list(BY_NAME["Pod"]) if is_owned_by(pod, workload)]
        status = build_status(workload, now, revision)
        live = workload.get("status", {})
        if any(live.get(key) != value for key, value in status.items()):
            await self.patch(workload, {"status": status}, "/status")

    async def check_migration(self, workload: Object) -> None:
        """No pod of the user's image comes before the migration of that image has succeeded."""
        component = component_of(workload)
        if not self.expects_migrations or not component.startswith(("api", "worker-")):
            return
        jobs = [job for job in await self.list(BY_NAME["Job"]) if component_of(job) == "migrate"]
        done = {image_of(job) for job in jobs if job.get("status", {}).get("succeeded")}
        name, image = workload["metadata"]["name"], image_of(workload)
        assert image in done, f"{name} has got image {image}, and only {done} have migrated the database"

    async def make_volumes(self, workload: Object, pod_names: Sequence[str]) -> None:
        """Claims of a StatefulSet's pods, and the memory that Patroni keeps in a ConfigMap."""
        labels = workload["spec"]["selector"]["matchLabels"]
        held = {claim["metadata"]["name"]: claim for claim in await self.list(BY_NAME["PersistentVolumeClaim"])}
        policy = workload["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        owners = [reference_to(workload)] if policy.get("whenDeleted") == "Delete" else None
        for template in workload["spec"].get("volumeClaimTemplates") or []:
            for pod_name in pod_names:
                name = f"{template['metadata']['name']}-{pod_name}"
                if name not in held:
                    meta = {"name": name, "labels": {**template["metadata"].get("labels", {}), **labels}}
                    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta}
                    await self.create({**claim, "spec": template["spec"]}, fieldManager=CONTROLLERS)
                elif held[name]["metadata"].get("ownerReferences") != owners:
                    await self.patch(held[name], {"metadata": {"ownerReferences": owners}})
        if component_of(workload) != "postgres":
            return
        scope = workload["metadata"]["name"]
        configs = {config["metadata"]["name"] for config in await self.list(BY_NAME["ConfigMap"])}
        if f"{scope}-config" not in configs:
            meta = {"name": f"{scope}-config", "labels": {PATRONI_LABEL: scope}, "annotations": {"initialize": "7"}}
            await self.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})

    async def left(self) -> Objects:
        """What is still there of the kinds that a stack owns, in a few words each."""
        keys = ("name", "ownerReferences", "finalizers", "deletionTimestamp")
        found = [(kind.name, obj["metadata"]) for kind in CHILDREN for obj in await self.list(kind)]
        return [{"kind": kind, **{key: meta[key] for key in keys if key in meta}} for kind, meta in found]

    async def has_collected(self) -> bool:
        """Whether nothing is left that waits for its end."""
        meta = [obj["metadata"] for kind in (*CHILDREN, STACK) for obj in await self.list(kind)]
        return not any(each.get("ownerReferences") or "deletionTimestamp" in each for each in meta)

    def check(self) -> None:
        """Raise what the cast died of, if it did."""
        if self.playing_task is not None and self.playing_task.done():
            self.playing_task.result()

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Play on and on while the block runs; an exception of the cast is one of the test."""

        async def act() -> None:
            while True:
                with suppress(httpx.TransportError):
                    await self.play()
                await asyncio.sleep(PAUSE_SECONDS)

        self.playing_task = task = asyncio.create_task(act())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def pod_set(pod: Object) -> str:
    """The name of a pod's StatefulSet."""
    return str(pod["metadata"]["name"].rpartition("-")[0])


def image_of(workload: Object) -> str:
    """What the first container of its pods runs."""
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


def is_owned_by(obj: Object, owner: Object) -> bool:
    owners = obj["metadata"].get("ownerReferences") or []
    return any(each["uid"] == owner["metadata"]["uid"] for each in owners)


def reference_to(workload: Object) -> Object:
    return {
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "name": workload["metadata"]["name"],
        "uid": workload["metadata"]["uid"],
        "controller": True,
    }


def build_pod(workload: Object, name: str, revision: str) -> Object:
    """A pod of the newest template."""
    template: dict[str, Any] = workload["spec"]["template"]
    labels = {**template["metadata"]["labels"], REVISION_LABEL: revision}
    if role := ROLES.get(component_of(workload)):
        labels[ROLE_LABEL] = role if name.endswith("-0") else "replica"  # Patroni and the keepers set it
    owner = reference_to(workload)
    claims = [
        {"name": each["metadata"]["name"], "persistentVolumeClaim": {"claimName": f"{each['metadata']['name']}-{name}"}}
        for each in workload["spec"].get("volumeClaimTemplates") or []
    ]
    spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", []), *claims]}
    meta = {**template["metadata"], "name": name, "labels": labels, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def running(address: str) -> Object:
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": NOON}],
    }


def succeeded() -> Object:
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": NOON} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    times = {"startTime": NOON, "completionTime": NOON}
    return {"succeeded": 1, "conditions": conditions, "uncountedTerminatedPods": {}, **times}


def build_status(workload: Object, pods: Objects, revision: str) -> Object:
    """The counts that a controller keeps."""
    new = sum(pod["metadata"]["labels"][REVISION_LABEL] == revision for pod in pods)
    ready = sum(pod["status"].get("phase") == "Running" for pod in pods)
    counts = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": new}
    status = {"observedGeneration": workload["metadata"]["generation"], **counts}
    if workload["kind"] == "StatefulSet":
        status["updateRevision"] = revision
        status["currentRevision"] = revision if new == len(pods) else "former"
        status["currentReplicas"] = len(pods)
    return {key: value or None for key, value in status.items()}  # in a merge patch nothing takes a zero away
