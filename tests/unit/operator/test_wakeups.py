"""Whatever changes wakes the daemon of its stack, and only that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from appstack_operator.wakeups import Wakeups

if TYPE_CHECKING:
    from collections.abc import Callable

SHOP = ("shop", "shop")


class Work:
    """Goes on for long, and tells whether it was ended."""

    def __init__(self) -> None:
        self.is_ended = False

    async def go_on(self, seconds: float = 30.0) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.is_ended = True
            raise


async def test_a_change_wakes_the_daemon_at_once_whatever_it_waits_for() -> None:
    wakeups, work = Wakeups(), Work()
    waiting = asyncio.create_task(wakeups.until_awake(*SHOP, work.go_on()))
    await asyncio.sleep(0.01)
    wakeups.wake(*SHOP)
    await asyncio.wait_for(waiting, timeout=20)
    assert work.is_ended
    assert wakeups.is_awake(*SHOP)


async def test_a_change_during_a_pass_is_not_lost() -> None:
    wakeups = Wakeups()
    wakeups.clear(*SHOP)
    wakeups.wake(*SHOP)
    await asyncio.wait_for(wakeups.until_awake(*SHOP, Work().go_on()), timeout=20)


def test_a_pass_has_seen_what_it_has_read() -> None:
    wakeups, read = Wakeups(), {"pod": "7", "service": "3"}
    for told, is_awake in (
        ([("pod", "7"), ("service", "3")], False),
        ([("pod", "7"), ("pod", "8")], True),
        ([("another pod", "7")], True),
        ([("pod", "7"), None], True),
    ):
        wakeups.clear(*SHOP)
        for version in told:
            wakeups.wake(*SHOP, version)
        wakeups.settle(*SHOP, read)
        assert wakeups.is_awake(*SHOP) is is_awake


@pytest.mark.parametrize("end", [Wakeups.clear, Wakeups.forget], ids=["a pass begins", "the stack is gone"])
async def test_what_can_wait_is_owed_until_a_pass_begins(end: Callable[[Wakeups, str, str], None]) -> None:
    wakeups = Wakeups()
    for _ in range(2):
        wakeups.wake_later(*SHOP, 0.05)
    end(wakeups, *SHOP)
    await asyncio.sleep(0.2)
    assert not wakeups.is_awake(*SHOP), "that pass has seen it"
    for _ in range(2):  # the next ones are told of as well
        wakeups.wake_later(*SHOP, 0.05)
        await asyncio.wait_for(wakeups.until_awake(*SHOP, Work().go_on()), timeout=20)
        assert wakeups.is_awake(*SHOP)
        end(wakeups, *SHOP)


async def test_the_daemon_of_another_stack_goes_on() -> None:
    wakeups, work = Wakeups(), Work()
    waiting = asyncio.create_task(wakeups.until_awake(*SHOP, work.go_on()))
    wakeups.wake("shop", "other")
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert done == set()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert work.is_ended


async def test_the_end_of_the_work_is_an_end_too() -> None:
    await asyncio.wait_for(Wakeups().until_awake(*SHOP, Work().go_on(0.01)), timeout=20)


async def test_what_the_work_raises_is_raised() -> None:
    async def crash() -> None:
        raise AttributeError

    with pytest.raises(AttributeError):
        await Wakeups().until_awake(*SHOP, crash())
