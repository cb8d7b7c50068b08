"""What the operator watches may come later than itself, and may fall silent without breaking off."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from appstack_operator.kinds import BY_NAME, CHILDREN
from appstack_operator.objects import STACK_LABEL
from appstack_operator.process import LOOK_SECONDS
from tests.apiserver.kit import server
from tests.apiserver.kit.faults import FAULTS, Trouble
from tests.apiserver.kit.life import SPEC, Life, living

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp import web

    from tests.apiserver.kit.life import World

HANG_LIMIT_SECONDS = 180.0
SILENCE_SECONDS = 3.0
STALLED, GONE = (next(fault for fault in FAULTS if fault.name == name) for name in ("watch-stalled", "list-gone"))


async def until(holds: Callable[[], bool], what: str) -> float:
    """Wait for it; the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < HANG_LIMIT_SECONDS, f"not within {HANG_LIMIT_SECONDS} s: {what}"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def test_a_kind_that_is_installed_later_is_waited_for(world: World, tmp_path: Path) -> None:
    with server.running(tmp_path / "cluster", knows_stacks=False) as cluster:
        # A namespace, an operator, and no controllers: they would look for stacks.
        async with living(replace(world, cluster=cluster, folder=tmp_path), "later", SPEC, is_played=False) as life:
            life.operator.start()
            await until(lambda: "the CRD of AppStack is not installed" in life.operator.said(), "it says so")
            await asyncio.sleep(2 * LOOK_SECONDS)
            assert life.operator.is_running()
            assert life.operator.said().count("is not installed") == 1, "it is said once"
            server.make_crd(cluster)
            await life.create()
            await until(lambda: "POST" in " ".join(life.proxy.writes), "it makes what the stack is made of")
            assert life.operator.is_running()
            assert "Traceback" not in life.operator.said()
    shutil.rmtree(tmp_path / "cluster", ignore_errors=True)


async def drift_is_repaired(life: Life) -> float:
    """Delete a Service; the seconds until it is there again."""
    path = BY_NAME["Service"].path(life.cast.namespace, "shop-api")
    before = (await life.ask("GET", path))["metadata"]["uid"]
    await life.ask("DELETE", path)
    began = time.monotonic()
    while time.monotonic() - began < HANG_LIMIT_SECONDS:
        answer = await life.cast.client.get(path)
        if answer.is_success and answer.json()["metadata"]["uid"] != before:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise AssertionError(f"not repaired within {HANG_LIMIT_SECONDS} s; {life.operator.tail()}")


async def test_a_watch_that_falls_silent_is_begun_anew_where_it_was(world: World, life: Life) -> None:
    """All connections stay open and no byte comes; what was missed comes with the next ones."""
    watched = sum(not kind.is_optional for kind in CHILDREN) + 1
    life.operator.environment["APPSTACK_WATCH_SILENCE_SECONDS"] = str(SILENCE_SECONDS)
    trouble = life.proxy.trouble = Trouble([STALLED], random.Random(0), share=1.0, budget=10**6)
    life.spec = SPEC
    await life.create()
    life.operator.start()
    await life.settle(life.is_ready)  # passes look for themselves while something is under way
    life.proxy.trouble = None
    took_seconds = await drift_is_repaired(life)
    assert trouble.done.total() >= watched, "every watch was a silent one"
    print(f"repaired after {took_seconds:.1f} s")


def is_of_a_watch(request: web.Request) -> bool:
    """Whether it is the list before a watch: passes list by the stack's name, watches by the label's presence."""
    return GONE.applies(request) and request.query.get("labelSelector") == STACK_LABEL


async def test_one_list_that_is_refused_for_good_blinds_nobody(life: Life) -> None:
    """kopf gives up then, and would wait for its other watches without an end."""
    life.proxy.trouble = Trouble([replace(GONE, applies=is_of_a_watch)], random.Random(0), share=0.0, budget=1)
    life.spec = SPEC
    life.operator.start()
    await until(lambda: "begins anew" in life.operator.said(), "it begins anew")
    assert life.proxy.trouble.done.total() == 1
    await life.create()
    await life.settle(life.is_ready)
    print(f"repaired after {await drift_is_repaired(life):.1f} s")
