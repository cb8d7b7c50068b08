"""A healthy creation posts Normal events alone; what was good and gets bad posts a Warning."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from appstack_operator.events import REPLICAS_IGNORED
from appstack_operator.kinds import EVENT, STACK
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import staging
from tests.apiserver.kit.troubles import NOT_READY, SPEC, answered, told

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

STANDBY = f"{NAME}-postgres-1"


async def events(stage: Stage) -> dict[tuple[str, str], str]:
    """(condition, reason) -> Normal or Warning, as it was last said about the stack."""
    found: list[Object] = (await stage.ask("GET", EVENT.path(stage.namespace)))["items"]
    said = [each for each in found if each["regarding"].get("kind") == STACK.name]
    # They come sorted by name, which is a hash.
    return {(each["action"], each["reason"]): each["type"] for each in sorted(said, key=itemgetter("eventTime"))}


async def test_only_a_loss_is_a_warning(world: World, api: Api) -> None:
    async with staging(world, api, "events") as stage:
        await stage.make_stack(SPEC)
        for _ in range(2):
            await stage.look()
            await stage.cast.play()
        # The replica comes up later than the primary, and follows it later still.
        async with told("Pod", STANDBY, conditions=[NOT_READY])(stage):
            await stage.look()
        async with answered(STANDBY, sync_standby=False)(stage):
            await stage.look()
        await stage.reach_health()
        start = await events(stage)
        assert start.keys() >= {
            ("PostgresReady", "ReplicaMissing"),
            ("PostgresReady", "NoSyncStandby"),
            ("MigrationsApplied", "MigrationRunning"),
            ("Ready", "Healthy"),
        }
        # Nobody gives these pods a node, so they all have the same: none.
        worrying = [what for what, kind in start.items() if kind != "Normal"]
        assert worrying in ([], [("HighlyAvailable", "SharedNode")])

        async with answered(STANDBY, sync_standby=False)(stage):
            await stage.look()
        assert (await events(stage))["PostgresReady", "NoSyncStandby"] == "Warning"


async def test_a_number_that_an_autoscaler_overrules_is_told_once(world: World, api: Api) -> None:
    scaled = {"replicas": 5, "autoscaling": {"minReplicas": 2, "maxReplicas": 4}}

    async def notes(stage: Stage) -> list[str]:
        await stage.look()
        await stage.look()
        found: list[Object] = (await stage.ask("GET", EVENT.path(stage.namespace)))["items"]
        return sorted(each["note"].partition(":")[0] for each in found if each["reason"] == REPLICAS_IGNORED)

    async with staging(world, api, "ignored") as stage:
        await stage.make_stack({**SPEC, "backend": {"api": scaled}})
        first = "spec.backend.api.replicas (5) is ignored"
        assert await notes(stage) == [first]
        await stage.change_spec(redis={"maxMemory": "128Mi"})
        assert await notes(stage) == [first]
        await stage.change("AppStack", NAME, {"spec": {"replicas": 3}}, "/scale")
        assert await notes(stage) == ["spec.backend.api.replicas (3) is ignored", first]
