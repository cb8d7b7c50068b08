"""Whatever changes wakes the daemon of its stack, and only that."""

from __future__ import annotations

import asyncio

from appstack_operator.wakeups import Wakeups

SHOP = ("shop", "shop")
LONG_SECONDS = 30


async def test_a_change_wakes_the_daemon_at_once() -> None:
    wakeups = Wakeups()
    waiting = asyncio.create_task(wakeups.wait(*SHOP, LONG_SECONDS))
    await asyncio.sleep(0)
    wakeups.wake(*SHOP)
    await asyncio.wait_for(waiting, timeout=1)


async def test_a_change_during_a_pass_is_not_lost() -> None:
    wakeups = Wakeups()
    wakeups.clear(*SHOP)
    wakeups.wake(*SHOP)
    await asyncio.wait_for(wakeups.wait(*SHOP, LONG_SECONDS), timeout=1)


async def test_the_daemon_of_another_stack_sleeps_on() -> None:
    wakeups = Wakeups()
    waiting = asyncio.create_task(wakeups.wait(*SHOP, LONG_SECONDS))
    wakeups.wake("shop", "other")
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert done == set()
    waiting.cancel()


async def test_the_time_out_wakes_too() -> None:
    await asyncio.wait_for(Wakeups().wait(*SHOP, 0.01), timeout=1)
