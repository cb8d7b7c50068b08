"""A pooler that is switched on in a stack that serves: the former way serves until the new one can."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tests.apiserver.kit.stage import staging
from tests.apiserver.kit.troubles import NOT_READY, SPEC, told

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage


async def the_way_to_the_database(stage: Stage) -> str:
    """The Service that the backend is told."""
    data = (await stage.get("Secret", "shop-env"))["data"]["DATABASE_URL"]
    return base64.b64decode(data).decode().partition("@")[2].partition(".")[0]


def all_is_served(conditions: dict[str, Object]) -> bool:
    """Now, and after the loss of any one pod or node."""
    for kind in ("Ready", "HighlyAvailable"):
        assert conditions[kind]["status"] == "True", conditions[kind]["message"]
    return True


async def test_nothing_dips_while_a_pooler_is_switched_on(world: World, api: Api) -> None:
    async with staging(world, api, "pooler") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await stage.settle_on_nodes()
        assert (await stage.look())["HighlyAvailable"]["status"] == "True"
        await stage.change_spec(postgres={"pooler": {"enabled": True}})
        for _ in range(3):  # its pods do not come
            conditions = await stage.look()
            assert all_is_served(conditions)
            assert conditions["PostgresReady"]["reason"] == "Creating"
            assert await the_way_to_the_database(stage) == "shop-postgres-rw"
        await stage.cast.play()
        await stage.bind("shop-postgres-pooler")
        async with told("Pod", "shop-postgres-pooler-1", conditions=[NOT_READY])(stage):
            assert all_is_served(await stage.look())
            assert await the_way_to_the_database(stage) == "shop-postgres-rw", "the loss of one pod would shut it"
        for _ in range(4):
            assert all_is_served(await stage.look())
            await stage.cast.play()
            await stage.bind("shop-")
        assert await the_way_to_the_database(stage) == "shop-postgres-pooler"
        await stage.reach_health()
        # Whoever went through it cannot do without it.
        async with (
            told("Pod", "shop-postgres-pooler-0", conditions=[NOT_READY])(stage),
            told("Pod", "shop-postgres-pooler-1", conditions=[NOT_READY])(stage),
        ):
            assert (await stage.look())["Ready"]["status"] == "False"
            assert await the_way_to_the_database(stage) == "shop-postgres-pooler"
