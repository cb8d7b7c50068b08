"""The life of one stack in a namespace of its own, with an operator that may be killed at any write."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from appstack_operator.kinds import STACK
from tests.apiserver.kit.cast import MERGE, Cast
from tests.apiserver.kit.external import external_secrets
from tests.apiserver.kit.operator import OperatorProcess, Zygote
from tests.apiserver.kit.proxy import FaultProxy
from tests.apiserver.kit.snapshot import passwords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from appstack_operator.objects import Object
    from tests.apiserver.kit.responders import Responders
    from tests.apiserver.kit.server import BareCluster

NAME = "shop"
QUIET_SECONDS = 1.5
PATIENCE_SECONDS = 240.0
ENDLESS = 150  # so many kills without an end: the operator repeats a write for ever
BACKEND: dict[str, Any] = {
    "image": "shop:1",
    "migrations": {"enabled": True},
    "api": {"replicas": 1},
    "workers": [{"name": "bulk", "queues": ["bulk"], "replicas": 1}],
}
MANAGED_SPEC: dict[str, Any] = {
    "deletionPolicy": "Delete",
    "backend": BACKEND,
    "cronJobs": [{"name": "nightly", "schedule": "0 3 * * *"}],
}
# Less to wait for, where the services do not matter.
SPEC: dict[str, Any] = {
    **MANAGED_SPEC,
    "postgres": {"instances": 1},
    "redis": {"mode": "External", "external": {"secretName": "our-redis"}},
    "rabbitmq": {"mode": "External", "external": {"secretName": "our-rabbitmq"}},
}
# Another image (a migration, two rollouts), a parameter of PostgreSQL (one pod after the other), one job instead of
# another.
UPDATE: dict[str, Any] = {
    "backend": {"image": "shop:2", "migrations": {"enabled": True}},
    "postgres": {"parameters": {"work_mem": "8MB"}},
    "cronJobs": [{"name": "hourly", "schedule": "0 * * * *"}],
}


@dataclass(frozen=True, slots=True)
class World:
    """What the lives of a test session share."""

    cluster: BareCluster
    responders: Responders
    zygote: Zygote
    folder: Path


@dataclass(slots=True)
class Life:
    """One stack, its operator and the wire between."""

    cast: Cast
    proxy: FaultProxy
    operator: OperatorProcess
    spec: dict[str, Any]

    async def ask(self, method: str, path: str, **arguments: Any) -> Object:
        answer = await self.cast.client.request(method, path, **arguments)
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    async def create(self) -> None:
        await self.ask(
            "POST",
            STACK.path(self.cast.namespace),
            json={"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": NAME}, "spec": self.spec},
        )

    async def update(self) -> None:
        await self.ask("PATCH", STACK.path(self.cast.namespace, NAME), json={"spec": UPDATE}, headers=MERGE)

    async def delete(self) -> None:
        await self.ask("DELETE", STACK.path(self.cast.namespace, NAME))

    async def is_ready(self) -> bool:
        """Whether status speaks of this very spec, and of nothing that is still to be done."""
        stack = await self.ask("GET", STACK.path(self.cast.namespace, NAME))
        status = stack.get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
        is_current = status.get("observedGeneration") == stack["metadata"]["generation"]
        return is_current and conditions.get("Ready") == "True" and "Reconciling" not in conditions

    async def is_gone(self) -> bool:
        """Whether the stack has ended."""
        answer = await self.cast.client.get(STACK.path(self.cast.namespace, NAME))
        return answer.status_code == httpx.codes.NOT_FOUND

    async def has_ended(self) -> bool:
        """Whether the stack and all that it owned are gone."""
        return await self.is_gone() and await self.cast.has_collected()

    async def undisturbed(self, is_done: Callable[[], Awaitable[bool]]) -> list[str]:
        """Let one operator finish; its writes."""
        self.proxy.clear()
        self.operator.start()
        try:
            await self.settle(is_done)
            return list(self.proxy.writes)
        finally:
            self.operator.kill()

    async def killed_after(self, writes: int, is_done: Callable[[], Awaitable[bool]]) -> bool:
        """Kill the operator after that many writes, whatever it is doing; False if it was done before."""
        self.proxy.strike_after(writes, self.operator.kill)
        self.operator.start()
        try:
            await self.settle(is_done)
        finally:
            self.operator.kill()
        return self.proxy.struck.is_set()

    async def killed_after_each_write(self, is_done: Callable[[], Awaitable[bool]]) -> list[str]:
        """Kill each operator after its first write until one has none left; those writes."""
        done: list[str] = []
        made = await passwords(self.cast)
        while await self.killed_after(1, is_done):
            done += self.proxy.writes
            assert len(done) < ENDLESS, f"no end in sight: {done[-5:]}; see {self.operator.log}"
            now = await passwords(self.cast)
            assert not [name for name in made if name in now and now[name] != made[name]], "a password was replaced"
            made |= now
        return done

    async def settle(self, is_done: Callable[[], Awaitable[bool]]) -> None:
        """Wait for the kill, or until all is done and the operator, having looked, has been quiet for a while."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        looked_at = None
        while not self.proxy.struck.is_set():
            self.cast.check()
            self.operator.check()
            if time.monotonic() > give_up_at:
                last = f"last writes: {self.proxy.writes[-5:]}; {await self.state()}; {self.operator.tail()}"
                raise AssertionError(f"not done in time; {last}")
            # It has begun a pass; or it found, when it looked for stacks, that there is none.
            has_looked = self.proxy.passes or (self.proxy.reads and await self.is_gone())
            looked_at = looked_at or (time.monotonic() if has_looked else None)
            quiet_since = max(looked_at or time.monotonic(), self.proxy.last_write_at)
            if time.monotonic() - quiet_since > QUIET_SECONDS and await is_done():
                return
            await asyncio.sleep(0.05)

    async def state(self) -> str:
        """What the stack says of itself."""
        answer = await self.cast.client.get(STACK.path(self.cast.namespace, NAME))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return f"the stack is gone; left: {await self.cast.left()}"
        return "; ".join(
            f"{each['type']} {each['status']} {each['message']}"
            for each in answer.json().get("status", {}).get("conditions", [])
        )


@asynccontextmanager
async def living(
    world: World, namespace: str, spec: dict[str, Any] = SPEC, *, is_played: bool = True
) -> AsyncIterator[Life]:
    """A namespace, and a cast that plays in it unless told otherwise."""
    cluster, context = world.cluster, world.cluster.client_context()
    proxy = FaultProxy(f"https://{cluster.api}", context)
    client = httpx.AsyncClient(base_url=f"https://{cluster.api}", verify=context, timeout=120)
    async with client, proxy.serving():
        operator = OperatorProcess(world.zygote, {"server": proxy.url}, namespace, world.folder)
        life = Life(Cast(client, namespace, world.responders), proxy, operator, spec)
        life.cast.expects_migrations = spec["backend"].get("migrations", {}).get("enabled", False)
        await life.ask("POST", "/api/v1/namespaces", json={"metadata": {"name": namespace}})
        account = {"metadata": {"name": "default"}}
        await life.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account)
        for name, data in external_secrets(cluster.loopback).items():
            secret = {"metadata": {"name": name}, "stringData": data}
            await life.ask("POST", f"/api/v1/namespaces/{namespace}/secrets", json=secret)
        async with life.cast.playing() if is_played else nullcontext():
            try:
                yield life
            finally:
                life.operator.kill()
