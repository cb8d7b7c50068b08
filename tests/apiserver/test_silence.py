"""While nothing changes the operator writes nothing: told by the API server's own count of requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appstack_operator.kinds import BY_NAME
from appstack_operator.left_to_do import BUSY_SECONDS
from appstack_operator.objects import STACK_LABEL
from appstack_operator.services.redis import TIMEOUT_SECONDS
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.life import MANAGED_SPEC
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    import httpx
    from aiohttp import web

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import Life, World
    from tests.apiserver.kit.proxy import FaultProxy

WRITING = {"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}
# The API server renews a Lease of its own, which says that it lives.
OWN = {"leases"}


async def writes_by_resource(client: httpx.AsyncClient) -> dict[str, float]:
    """Resource -> requests that wrote, or wanted to, since the API server started."""
    text = (await client.get("/metrics")).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "apiserver_request_total" and labels["verb"] in WRITING and labels["resource"] not in OWN:
                found[labels["resource"]] = found.get(labels["resource"], 0) + sample.value
    return found


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(20, id="20 s"),
        pytest.param(180, id="3 min", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
async def test_nothing_is_written_while_nothing_changes(life: Life, seconds: int) -> None:
    life.operator.start()
    await life.create()
    await life.settle(life.is_ready)
    client = life.cast.client
    before, passes, sent = await writes_by_resource(client), life.proxy.passes, len(life.proxy.writes)
    assert passes > 0
    await asyncio.sleep(seconds)
    assert await writes_by_resource(client) == before
    assert life.proxy.writes[sent:] == [], "by itself, Lease included: here it runs without one"
    # A slow answer of a service may lead to a look, and so may its moment of ten minutes; polls, one a second, do not.
    assert life.proxy.passes - passes <= 4 + seconds // 60
    # The count sees writes: one of our own shows.
    path = f"/api/v1/namespaces/{life.cast.namespace}/serviceaccounts/default"
    await client.patch(path, json={"metadata": {"labels": {"seen": "yes"}}}, headers=MERGE)
    assert await writes_by_resource(client) != before


async def test_what_patroni_notes_in_its_pod_wakes_no_pass(life: Life) -> None:
    life.operator.start()
    await life.create()
    await life.settle(life.is_ready)
    pod = next(each for each in await life.cast.list(BY_NAME["Pod"]) if "postgres" in each["metadata"]["name"])
    await asyncio.sleep(2)  # what the creation still wakes
    passes = life.proxy.passes
    for position in range(8):
        await life.cast.patch(pod, {"metadata": {"annotations": {"status": f'{{"xlog_location":{position}}}'}}})
        await asyncio.sleep(0.5)  # longer than the pause between two passes
    # A slow answer of a service may lead to a look; eight notes do not.
    assert life.proxy.passes - passes <= 3
    passes = life.proxy.passes
    await life.cast.patch(pod, {"metadata": {"annotations": {"note": "of a user's"}}})

    async def a_pass_has_come() -> bool:
        return life.proxy.passes > passes

    await life.settle(a_pass_has_come)


class LateLists:
    """What a watch begins with comes after the first pass: with hundreds of stacks it is read for a minute."""

    def __init__(self) -> None:
        self.may_come, self.told = asyncio.Event(), 0

    def fault_for(self, request: web.Request) -> LateLists | None:
        is_of_children = request.query.get("labelSelector") == STACK_LABEL
        return self if is_of_children and "watch" not in request.query else None

    async def act(self, proxy: FaultProxy, request: web.Request, body: bytes, _die: object) -> web.StreamResponse:
        await self.may_come.wait()
        self.told += 1
        return await proxy.pass_on(request, body)

    def die(self) -> None:
        """Nothing is left to chance."""


async def test_what_a_restarted_operator_is_told_of_after_its_first_pass_leads_to_no_other(life: Life) -> None:
    life.operator.start()
    await life.create()
    await life.settle(life.is_ready)
    life.operator.kill()
    passes, lists = life.proxy.passes, LateLists()
    life.proxy.trouble = lists  # type: ignore[assignment]
    life.operator.start()
    async with asyncio.timeout(60):
        while life.proxy.passes == passes:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    lists.may_come.set()
    await asyncio.sleep(5)
    assert lists.told > 0
    assert life.proxy.passes == passes + 1


async def test_an_operator_that_has_just_begun_takes_a_first_late_answer_for_no_news(world: World, api: Api) -> None:
    async with staging(world, api, "late-after-start") as shop:
        await shop.make_stack(MANAGED_SPEC)
        await shop.reach_health()
        known = await shop.look()
        shop.operator.looks.clear()
        world.responders.delay_seconds = TIMEOUT_SECONDS + 1
        try:
            assert await shop.look() == known
            assert shop.delay_seconds == BUSY_SECONDS
            assert await shop.look() != known, "who is silent twice is silent"
        finally:
            world.responders.delay_seconds = 0.0
