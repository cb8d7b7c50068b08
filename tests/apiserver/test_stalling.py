"""What has been late for too long stalls a stack; a spec that is changed meanwhile has its own time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from appstack_operator import converge
from tests.apiserver.kit.field_cases import BASE
from tests.apiserver.kit.stage import Clock, container_status, staging

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
