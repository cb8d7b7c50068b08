"""A pass writes what its spec asks for at once, and its status once other specs that have changed were begun."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from appstack_operator.kinds import STACK
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import staging
from tests.apiserver.kit.troubles import SPEC

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

OTHER = ("elsewhere", "shop")


async def seen_generations(stage: Stage) -> tuple[int, int]:
    """That of the spec, and the one that the status tells of."""
    stack: dict[str, Any] = await stage.get(STACK.name, NAME)
    return stack["metadata"]["generation"], stack["status"]["observedGeneration"]


async def test_a_status_waits_for_the_pass_over_another_changed_spec(world: World, api: Api) -> None:
    async with staging(world, api, "turns") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        turns = stage.operator.turns
        shop = (stage.namespace, NAME)
        for key in [shop, *(("busy", str(number)) for number in range(turns.free - 1))]:
            await turns.acquire(key)  # so that there is none left
        replicas = (await stage.get("Deployment", f"{NAME}-api"))["spec"]["replicas"]
        await stage.change_spec(backend={"api": {"replicas": replicas + 1}})
        turns.hurry(OTHER)
        waiting = asyncio.create_task(turns.acquire(OTHER))
        await asyncio.sleep(0)
        passing = asyncio.create_task(stage.look())
        await asyncio.wait_for(waiting, 120)
        assert (await stage.get("Deployment", f"{NAME}-api"))["spec"]["replicas"] == replicas + 1
        wanted, told = await seen_generations(stage)
        assert told < wanted
        assert not passing.done()
        turns.release()
        await asyncio.wait_for(passing, 120)
        assert await seen_generations(stage) == (wanted, wanted)
