"""Which pods of a data service that is not well a new template replaces, and when: at a real API server."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from appstack_operator import converge
from appstack_operator.kinds import BY_NAME
from tests.apiserver.kit.stage import Clock, container_status, staging
from tests.apiserver.kit.troubles import NOT_READY, SPEC, answered

if TYPE_CHECKING:
    import pytest

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

RUNS: dict[str, Any] = {"running": {"startedAt": "2026-01-01T12:00:00Z"}}
DOES_NOT_RUN: dict[str, Any] = {"waiting": {"reason": "CreateContainerConfigError", "message": "no such key"}}
FIRST, SECOND, THIRD = (f"shop-rabbitmq-{number}" for number in range(3))
READY = {"type": "Ready", "status": "True"}


async def tell(stage: Stage, pod: str, condition: dict[str, Any], state: dict[str, Any]) -> None:
    """What kubelet says of a pod."""
    status = (await stage.get("Pod", pod))["status"]
    containers = [container_status("rabbitmq", state, ready=condition is READY)]
    await stage.put_status("Pod", pod, {**status, "conditions": [condition], "containerStatuses": containers})


async def uids(stage: Stage, start: str = "shop-rabbitmq-") -> dict[str, str]:
    pods = [each["metadata"] for each in await stage.cast.list(BY_NAME["Pod"])]
    return {meta["name"]: meta["uid"] for meta in pods if meta["name"].startswith(start)}


async def unwell(stage: Stage, **states: dict[str, Any]) -> dict[str, str]:
    """No node of RabbitMQ is ready, and a new template is known for all of them; the uids of the pods."""
    await stage.make_stack(SPEC)
    await stage.reach_health()
    for pod, state in zip((FIRST, SECOND, THIRD), states.values(), strict=True):
        await tell(stage, pod, NOT_READY, state)
    await stage.change_spec(rabbitmq={"resources": {"limits": {"memory": "2Gi"}}})
    before = await uids(stage)
    await stage.look()
    assert await uids(stage) == before, "its controller has still to look at the template"
    await stage.cast.play()
    assert await uids(stage) == before
    return before


async def test_servers_that_run_and_are_not_ready_are_replaced_one_by_one(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converge, "datetime", Clock)
    async with staging(world, api, "one-by-one") as stage:
        before = await unwell(stage, first=RUNS, second=RUNS, third=RUNS)
        left = dict(before)
        for number, pod in enumerate((THIRD, SECOND, FIRST)):
            await stage.look()
            del left[pod]
            assert left.items() <= (await uids(stage)).items(), f"{pod} alone"
            assert (await uids(stage)).get(pod) != before[pod], pod
            await stage.look()
            assert left.items() <= (await uids(stage)).items(), "its successor has still to come"
            await stage.cast.play()
            await tell(stage, pod, NOT_READY, RUNS)
            await stage.look()
            assert left.items() <= (await uids(stage)).items(), "its successor has still to become ready"
            if number == 0:
                await tell(stage, pod, READY, RUNS)
                continue
            # Or it has run for long: then it may wait for those that are still to be replaced.
            monkeypatch.setattr(Clock, "ahead", timedelta(seconds=310 * number))


async def test_servers_that_do_not_run_are_replaced_at_once(world: World, api: Api) -> None:
    async with staging(world, api, "all-at-once") as stage:
        before = await unwell(stage, first=DOES_NOT_RUN, second=RUNS, third=DOES_NOT_RUN)
        await stage.look()
        assert await uids(stage) == {SECOND: before[SECOND]}


async def test_the_primary_is_replaced_only_when_a_standby_can_take_over(world: World, api: Api) -> None:
    """A new replica is ready while it still catches up, and nobody promotes it then."""
    primary, standby = "shop-postgres-0", "shop-postgres-1"
    async with staging(world, api, "heirs") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        before = await uids(stage, "shop-postgres-")
        await stage.change_spec(postgres={"resources": {"limits": {"memory": "2Gi"}}})
        await stage.look()
        await stage.cast.play()
        await stage.look()
        assert await uids(stage, "shop-postgres-") == {primary: before[primary]}, "the replica first"
        async with answered(standby, sync_standby=False)(stage):
            for _ in range(3):
                await stage.cast.play()
                conditions = await stage.look()
            assert (await uids(stage, "shop-postgres-"))[primary] == before[primary]
            assert (await uids(stage, "shop-postgres-")).keys() == {primary, standby}
            said = conditions["PostgresReady"]
            assert (said["status"], said["reason"]) == ("False", "NoSyncStandby")
        await stage.change_spec(postgres={"synchronousReplication": "Off"})
        async with answered(standby, sync_standby=False, xlog={"received_location": -(2**21)})(stage):
            for _ in range(2):
                await stage.cast.play()
                said = (await stage.look())["PostgresReady"]
            assert (await uids(stage, "shop-postgres-"))[primary] == before[primary]
            assert (said["status"], said["reason"]) == ("True", "RolloutInProgress")
            assert f"{primary} is primary and of the old template; it is replaced once" in said["message"]
            assert f"{standby}: replica streaming, " in said["message"]
        await stage.look()
        assert primary not in await uids(stage, "shop-postgres-")
        await stage.reach_health()


async def test_the_last_member_stays_while_it_alone_can_lead(world: World, api: Api) -> None:
    """The primary has the highest number, and the one that would stay does not hold the data."""
    first, last = "shop-postgres-0", "shop-postgres-1"
    leads = {"role": "primary", "replication_state": None, "sync_standby": False, "xlog": {"location": 1000}}
    follows = {"role": "replica", "replication_state": "streaming", "xlog": {"received_location": 1000}}

    async def asked_for(stage: Stage) -> int:
        return int((await stage.get("StatefulSet", "shop-postgres"))["spec"]["replicas"])

    async with staging(world, api, "shrunk") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        before = await uids(stage, "shop-postgres-")
        async with answered(last, **leads)(stage):
            async with answered(first, **follows, state="starting", sync_standby=False)(stage):
                stage.cast.responders.troubles[stage.namespace, first]["replication_state"] = None
                await stage.change_spec(postgres={"instances": 1})
                for _ in range(2):
                    await stage.cast.play()
                    conditions = await stage.look()
                assert await asked_for(stage) == 2
                assert await uids(stage, "shop-postgres-") == before
                said = conditions["PostgresReady"]
                assert (said["status"], said["reason"]) == ("False", "ReplicaLagging")
                assert f"instances 2 -> 1: {last} is primary and stays until one of the others" in said["message"]
                stack = await stage.get("AppStack", "shop")
                ready = next(each for each in stack["status"]["conditions"] if each["type"] == "Ready")
                assert ready["observedGeneration"] < stack["metadata"]["generation"], "it is not done"
            async with answered(first, **follows, sync_standby=True)(stage):
                await stage.look()
                assert await asked_for(stage) == 1
        await stage.reach_health()
        assert await uids(stage, "shop-postgres-") == {first: before[first]}
        assert (await stage.look())["PostgresReady"]["reason"] == "Healthy"


async def test_a_redis_that_is_alone_serves_until_its_replicas_have_come(world: World, api: Api) -> None:
    async with staging(world, api, "more-redis") as stage:
        await stage.make_stack({**SPEC, "redis": {"replicas": 1, "sentinels": 1}})
        await stage.reach_health()
        await stage.change_spec(redis={"replicas": 3})
        for _ in range(3):  # Services, their addresses, the members
            conditions = await stage.look()
            assert conditions["Ready"]["status"] == "True"
        assert (await stage.get("StatefulSet", "shop-redis"))["spec"]["replicas"] == 3
        assert conditions["RedisReady"]["reason"] == "ReplicaMissing"
        await stage.reach_health()


async def test_redis_members_go_one_by_one_and_only_while_who_stays_follows(world: World, api: Api) -> None:
    async with staging(world, api, "fewer-redis") as stage:
        await stage.make_stack({**SPEC, "redis": {"replicas": 5, "sentinels": 3}})
        await stage.reach_health()

        async def asked() -> int:
            conditions = await stage.look()
            messages.append(conditions["RedisReady"]["message"])
            return int((await stage.get("StatefulSet", "shop-redis"))["spec"]["replicas"])

        messages: list[str] = []
        await stage.change_spec(redis={"replicas": 3})
        unlinked = answered("shop-redis-1", "shop-redis-2", master_link_status="down")
        async with unlinked(stage):
            assert await asked() == 5
            assert "replicas 5 -> 3: shop-redis-4 stays until 1 of those that stay follow shop-redis-0" in messages[-1]
        assert await asked() == 4
        assert await asked() == 4, "the controller has still to take it away"
        await stage.cast.play()
        assert await asked() == 3
        await stage.cast.play()
        await stage.look()
        left = {pod for pod in await uids(stage, "shop-redis-") if "sentinel" not in pod}
        assert left == {"shop-redis-0", "shop-redis-1", "shop-redis-2"}
