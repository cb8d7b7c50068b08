"""A name that somebody else has taken: told, left alone, and nothing waits for it that can do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import staging
from tests.apiserver.kit.troubles import SPEC

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World


async def test_a_policy_that_cannot_be_made_holds_nothing_up(world: World, api: Api) -> None:
    async with staging(world, api, "foreign-policy") as stage:
        theirs = await stage.make("NetworkPolicy", f"{NAME}-redis", spec={"podSelector": {}})
        await stage.make_stack(SPEC)
        await stage.reach_health()
        said = (await stage.look())["RedisReady"]
        assert (said["status"], said["reason"]) == ("False", "ForeignObject")
        assert f"NetworkPolicy {NAME}-redis" in said["message"]
        assert await stage.get("NetworkPolicy", f"{NAME}-redis") == theirs
        await stage.ask("DELETE", stage.path("NetworkPolicy", f"{NAME}-redis"))
        await stage.look()
        assert (await stage.look())["RedisReady"]["status"] == "True"
