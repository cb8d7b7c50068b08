"""What stalls a stack: what is late for too long, and a spec that cannot be read; what runs is still looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from appstack_operator import converge
from tests.apiserver.kit.field_cases import BASE
from tests.apiserver.kit.stage import Clock, container_status, staging
from tests.apiserver.kit.troubles import TOO_MANY, a_crd_without_a_limit, answered

if TYPE_CHECKING:
    import pytest

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World

LONG_AGO = (datetime.now(UTC) - timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%SZ")
WITHOUT_IMAGE = {
    "phase": "Pending",
    "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": LONG_AGO}],
    "containerStatuses": [
        container_status("redis", {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}})
    ],
}


async def test_a_change_during_a_long_outage_gets_its_time_before_it_is_called_stalled(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converge, "datetime", Clock)
    async with staging(world, api, "stalling") as shop:
        await shop.make_stack(BASE)
        await shop.reach_health()
        await shop.put_status("Pod", "shop-redis-2", WITHOUT_IMAGE)
        assert "Stalled" not in await shop.look(), "an outage of what was complete"
        await shop.change_spec(redis={"maxMemory": "64Mi"})
        conditions = await shop.look()
        assert "Stalled" not in conditions
        assert conditions["Reconciling"]["status"] == "True"
        monkeypatch.setattr(Clock, "ahead", timedelta(minutes=11))
        conditions = await shop.look()
        assert "Stalled" in conditions
        assert conditions["RedisReady"]["message"].endswith("so for 10 minutes or more")


async def test_a_spec_that_cannot_be_read_leaves_what_served_serving_and_looked_at(world: World, api: Api) -> None:
    async with staging(world, api, "unreadable") as shop, a_crd_without_a_limit(shop):
        await shop.make_stack({**BASE, "paused": False})
        await shop.reach_health()
        before, served = await shop.versions(), (await shop.look())["Ready"]
        await shop.change_spec(**TOO_MANY)
        conditions = await shop.look()
        assert (conditions["Stalled"]["status"], conditions["Stalled"]["reason"]) == ("True", "SpecInvalid")
        assert "spec.backend.api.replicas" in conditions["Stalled"]["message"]
        assert [each.is_left_alone for each in shop.operator.looks.values()] == [True]
        assert conditions["Ready"] == served, "by the former spec, and for no other generation than before"
        assert "Reconciling" not in conditions

        with_a_fault = answered("shop-postgres-0", "shop-postgres-1", role="replica")
        async with with_a_fault(shop):
            conditions = await shop.look()
            assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", "NoPrimary")
        assert (await shop.look())["Ready"]["status"] == "True"
        assert await shop.versions() == before, "nothing was written to what runs"

        await shop.change_spec(backend={"api": {"replicas": 1}})
        await shop.reach_health()
        conditions = await shop.look()
        assert "Stalled" not in conditions
        assert conditions["Ready"]["observedGeneration"] == served["observedGeneration"] + 2


async def test_a_spec_that_no_operator_could_ever_read_says_nothing_of_what_runs(world: World, api: Api) -> None:
    """After a restart nobody knows the former spec, by which the stack runs."""
    async with staging(world, api, "never-read") as shop, a_crd_without_a_limit(shop):
        await shop.make_stack(BASE)
        await shop.reach_health()
        await shop.change_spec(**TOO_MANY)
        shop.operator.looks.clear()
        conditions = await shop.look()
        assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("Unknown", "SpecInvalid")
