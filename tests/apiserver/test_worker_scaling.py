"""The real operator lets workers follow their queues: up at once, down after a calm time, never under begun work."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from appstack_operator import bridging, observe
from appstack_operator.kinds import BY_NAME
from tests.apiserver.kit.life import BACKEND, MANAGED_SPEC
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    import pytest

    from appstack_operator.client import Api
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import Life, World

QUEUE = "scaling"
CALM_SECONDS = 4
HANG_SECONDS = 120.0
BOUNDS = {"minReplicas": 1, "maxReplicas": 5, "messagesPerReplica": 10, "scaleDownStabilizationSeconds": CALM_SECONDS}
SPEC: dict[str, Any] = {
    **MANAGED_SPEC,
    "backend": {**BACKEND, "workers": [{"name": "bulk", "queues": [QUEUE], "autoscaling": BOUNDS}]},
    "postgres": {"instances": 1},
    "redis": {"replicas": 1, "sentinels": 1},
    "rabbitmq": {"replicas": 1},
}
NAME = "shop-worker-bulk"


async def workers(life: Life) -> Object:
    spec: Object = (await life.ask("GET", BY_NAME["Deployment"].path(life.cast.namespace, NAME)))["spec"]
    return spec


async def reaches(life: Life, replicas: int) -> float:
    """Wait until that many workers are wanted; how long that took, in seconds."""
    began = time.monotonic()
    while (now := (await workers(life))["replicas"]) != replicas:
        assert time.monotonic() - began < HANG_SECONDS, f"{now} workers, not {replicas}: {life.operator.tail()}"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def is_seen(world: World) -> None:
    """Until the operator has been told of the queues as they are now: on a busy machine it asks less often."""
    before, began = world.responders.asked, time.monotonic()
    while world.responders.asked == before:
        assert time.monotonic() - began < HANG_SECONDS, "nobody asks for the queues"
        await asyncio.sleep(0.05)


async def test_workers_follow_their_queues(world: World, life: Life) -> None:
    waiting, in_hand = world.responders.backlog, world.responders.in_hand
    waiting[QUEUE] = in_hand[QUEUE] = 0
    life.spec = SPEC
    life.operator.start()
    await life.create()
    await life.settle(life.is_ready)
    before = await workers(life)
    assert before["replicas"] == 1

    waiting[QUEUE] = 31
    await reaches(life, 4)
    waiting[QUEUE] = 9999
    await reaches(life, 5)

    waiting[QUEUE], in_hand[QUEUE] = 0, 45
    await asyncio.sleep(2 * CALM_SECONDS)
    assert (await workers(life))["replicas"] == 5, "what was begun keeps its workers"

    for number in range(2 * CALM_SECONDS + 1):
        in_hand[QUEUE] = 0 if number % 2 else 45
        await is_seen(world)
    assert (await workers(life))["replicas"] == 5, "what comes and goes makes no waves"

    in_hand[QUEUE] = 0
    assert await reaches(life, 1) > CALM_SECONDS / 2, "it was calm for a while first"

    waiting[QUEUE] = 9999
    await reaches(life, 5)
    waiting[QUEUE], in_hand[QUEUE] = 0, 5
    await asyncio.sleep(2 * CALM_SECONDS)
    assert (await workers(life))["replicas"] == 5, "a long message in each, for which one worker would do"
    in_hand[QUEUE] = 0
    await reaches(life, 1)
    assert (await workers(life))["template"] == before["template"], "no pod was replaced for it"
    said = [json.loads(line) for line in life.operator.said().rpartition("\n")[0].splitlines()]
    changes = [each["message"] for each in said if each.get("target") == f"Deployment {NAME}"]
    assert [each.rpartition(": ")[2] for each in changes[1:]] == [
        "replicas 1 -> 4",
        "replicas 4 -> 5",
        "replicas 5 -> 1",
        "replicas 1 -> 5",
        "replicas 5 -> 1",
    ]


async def test_only_a_lasting_loss_of_a_leader_is_told(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead_seconds = 0.0
    monkeypatch.setattr(observe, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_seconds))
    waiting = world.responders.backlog
    waiting[QUEUE] = 15
    try:
        async with staging(world, api, "leaderless") as stage:
            await stage.make_stack(SPEC)
            await stage.reach_health()
            seen: list[tuple[str, int]] = []
            long = bridging.LONGEST_SECONDS + 1
            for length, pause_seconds in ((None, 0.0), (15, long), (None, 0.0), (None, long), (15, 0.0)):
                waiting[QUEUE] = length
                ahead_seconds += pause_seconds
                conditions = await stage.look()
                replicas = (await stage.get("Deployment", NAME))["spec"]["replicas"]
                seen.append((conditions["WorkersReady"]["reason"], replicas))
            assert seen == [
                ("Healthy", 2),
                ("Healthy", 2),
                ("Healthy", 2),
                ("BacklogUnreadable", 2),
                ("Healthy", 2),
            ]
    finally:
        waiting[QUEUE] = 0
