"""One stack and the operator's passes over it, one by one, in this process: what is wrong is written in between."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Self

import httpx

from appstack_operator.converge import Operator, converge
from appstack_operator.kinds import BY_NAME, CHILDREN, STACK
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL
from tests.apiserver.kit.cast import MERGE, NOON, Cast
from tests.apiserver.kit.convergence import SETTINGS
from tests.apiserver.kit.life import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_operator.client import Api
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import World

MOST_ROUNDS = 30
A_YEAR_SECONDS = 365 * 86400
NODES = ("node-0", "node-1", "node-2")
FAILED: dict[str, Any] = {
    "startTime": NOON,
    "failed": 1,
    "uncountedTerminatedPods": {},
    "conditions": [
        {"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "no more tries"}
        | {"lastTransitionTime": NOON}
        for kind in ("FailureTarget", "Failed")
    ],
}


class Clock(datetime):
    """The operator's clock, which a test may put forward."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + cls.ahead


class Stage:
    """A namespace with one stack; nothing moves on but by `play` (the cluster) and `look` (the operator)."""

    def __init__(self, cast: Cast, api: Api, name: str = NAME) -> None:
        self.cast = cast
        self.name = name
        self.namespace = cast.namespace
        # Its own moment of every ten minutes would come in between where a test asks when the next pass is wanted.
        self.operator = Operator(api, SETTINGS.model_copy(update={"resync_seconds": A_YEAR_SECONDS}))
        self.delay_seconds: float | None = None  # after which the last pass wants the next one

    async def ask(self, method: str, path: str, **arguments: Any) -> Object:
        answer = await self.cast.client.request(method, path, **arguments)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        found: Object = answer.json()
        return found

    def path(self, kind: str, name: str = "") -> str:
        """Where objects of a kind are, or one of them."""
        known = STACK if kind == STACK.name else BY_NAME[kind]
        return known.path(self.namespace, name) if name else known.path(self.namespace)

    async def make(self, kind: str, name: str, **content: Any) -> Object:
        """Create an object; its labels may be given as metadata."""
        metadata = {"name": name, **content.pop("metadata", {})}
        return await self.ask("POST", self.path(kind), json={"metadata": metadata, **content})

    async def make_stack(self, spec: dict[str, Any]) -> None:
        stack = {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": self.name}, "spec": spec}
        await self.ask("POST", self.path(STACK.name), json=stack)

    async def get(self, kind: str, name: str) -> Object:
        return await self.ask("GET", self.path(kind, name))

    async def versions(self) -> dict[tuple[str, str], int]:
        """(kind, name) of all that a stack is made of -> when it was written last: the API server counts its writes."""
        found = [(kind.name, obj["metadata"]) for kind in CHILDREN for obj in await self.cast.list(kind)]
        return {(kind, meta["name"]): int(meta["resourceVersion"]) for kind, meta in found}

    async def change(self, kind: str, name: str, change: dict[str, Any], subresource: str = "") -> None:
        await self.ask("PATCH", f"{self.path(kind, name)}{subresource}", json=change, headers=MERGE)

    async def change_spec(self, **spec: Any) -> None:
        await self.change(STACK.name, self.name, {"spec": spec})

    async def postgres_settings(self) -> dict[str, str]:
        """What Patroni is told to set."""
        config = await self.get("ConfigMap", f"{self.name}-postgres-config")
        found: dict[str, str] = json.loads(config["metadata"]["annotations"]["config"])["postgresql"]["parameters"]
        return found

    async def put_status(self, kind: str, name: str, status: Object) -> None:
        """The whole status, as it is to be."""
        live = await self.get(kind, name)
        await self.ask("PUT", f"{self.path(kind, name)}/status", json={**live, "status": status})

    async def look(self) -> dict[str, Object]:
        """One pass of the operator; the conditions after it."""
        self.delay_seconds = await converge(self.operator, self.namespace, self.name)
        answer = await self.cast.client.get(self.path(STACK.name, self.name))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        return {each["type"]: each for each in answer.json().get("status", {}).get("conditions", [])}

    async def reach_health(self) -> None:
        """Until users are served and nothing is left to do."""
        for _ in range(MOST_ROUNDS):
            await self.cast.play()
            conditions = await self.look()
            if conditions["Ready"]["status"] == "True" and "Reconciling" not in conditions:
                break
        else:
            raise AssertionError(f"not Ready after {MOST_ROUNDS} rounds: {conditions}")

    async def settle_on_nodes(self) -> None:
        """Every pod gets a node; Patroni notes that there is a database."""
        noted = {"metadata": {"annotations": {"initialize": "7"}}}
        await self.change("ConfigMap", f"{self.name}-postgres-config", noted)
        await self.bind("")

    async def bind(self, start: str) -> None:
        """Every pod whose name begins so, and that has no node yet, gets the one of its number."""
        for pod in await self.cast.list(BY_NAME["Pod"]):
            if not pod["metadata"]["name"].startswith(start) or "nodeName" in pod["spec"]:
                continue
            number = int(pod["metadata"]["name"].rpartition("-")[2])
            target = {"target": {"apiVersion": "v1", "kind": "Node", "name": NODES[number]}}
            path = f"{self.path('Pod', pod['metadata']['name'])}/binding"
            await self.ask("POST", path, json={"metadata": {"name": pod["metadata"]["name"]}, **target})

    async def fail_job(self, name: str, words: str) -> None:
        """A Job has ended in failure, and so has its pod, `NAME-x`."""
        job = await self.get("Job", name)
        await self.make_pod_of(job)
        ended = {"exitCode": 1, "reason": "Error", "message": words, "startedAt": NOON, "finishedAt": NOON}
        container = job["spec"]["template"]["spec"]["containers"][0]
        state = container_status(container["name"], {"terminated": ended})
        await self.put_status("Pod", f"{name}-x", {"phase": "Failed", "containerStatuses": [state]})
        await self.put_status("Job", name, FAILED)

    async def make_pod_of(self, job: Object) -> None:
        """The pod that the Job controller would make."""
        template, name = job["spec"]["template"], job["metadata"]["name"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
        metadata = {"labels": template["metadata"]["labels"], "ownerReferences": [owner | {"controller": True}]}
        await self.make("Pod", f"{name}-x", metadata=metadata, spec=template["spec"])

    async def jobs(self) -> list[Object]:
        """All Jobs."""
        return await self.cast.list(BY_NAME["Job"])

    async def migration_job(self) -> str:
        """The name of the only migration Job."""
        jobs = await self.cast.list(BY_NAME["Job"])
        (name,) = [
            each["metadata"]["name"]
            for each in jobs
            if each["metadata"]["labels"].get(STACK_LABEL) == self.name
            and each["metadata"]["labels"].get(COMPONENT_LABEL) == "migrate"
        ]
        return str(name)


def container_status(name: str, state: Object, **more: Any) -> Object:
    """What kubelet tells of a container."""
    base = {"name": name, "image": "shop:1", "imageID": "", "ready": False, "restartCount": 0}
    return {**base, "state": state, **more}


@asynccontextmanager
async def staging(world: World, api: Api, namespace: str, name: str = NAME) -> AsyncIterator[Stage]:
    """A stage in a namespace of its own."""
    cluster = world.cluster
    client = httpx.AsyncClient(base_url=f"https://{cluster.api}", verify=cluster.client_context(), timeout=120)
    async with client:
        stage = Stage(Cast(client, namespace, world.responders), api, name)
        await stage.ask("POST", "/api/v1/namespaces", json={"metadata": {"name": namespace}})
        account = {"metadata": {"name": "default"}}
        await stage.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account)
        yield stage
