"""What keeps looking after a stack when something in it goes wrong."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from appstack_operator import daemons
from appstack_operator.daemons import Daemons
from appstack_operator.health import Health
from appstack_operator.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest


def an_operator() -> Any:
    """What a daemon needs of it; one pass at a time."""
    settings = SimpleNamespace(poll_seconds=5.0)
    return SimpleNamespace(looks={}, settings=settings, api=None, scaling=None, turns=Turns(1))


async def test_a_look_that_crashes_between_passes_does_not_end_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service once answered with a list where an object was due: the stack was never looked after again."""
    passes: list[str] = []
    came_again = asyncio.Event()

    async def one_pass(_operator: object, namespace: str, name: str) -> float:
        passes.append(f"{namespace}/{name}")
        if len(passes) == 2:
            came_again.set()
        return 600.0

    async def crash(*_: object) -> None:
        raise AttributeError("'list' object has no attribute 'get'")

    monkeypatch.setattr(daemons, "run_pass", one_pass)
    monkeypatch.setattr(daemons, "rest", crash)
    monkeypatch.setattr(daemons, "CRASHED_SECONDS", 0.01)
    kept = Daemons(an_operator(), Health())
    kept.see("shop", "shop", 1)
    try:
        await asyncio.wait_for(came_again.wait(), 60)
    finally:
        await kept.stop()
    assert passes[:2] == ["shop/shop", "shop/shop"]


async def test_after_a_look_that_crashed_a_change_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch)
    has_crashed = asyncio.Event()

    async def crash(*_: object) -> None:
        has_crashed.set()
        raise AttributeError("'list' object has no attribute 'get'")

    monkeypatch.setattr(daemons, "rest", crash)
    monkeypatch.setattr(daemons, "CRASHED_SECONDS", 600.0)
    kept = Daemons(an_operator(), Health())
    kept.see("shop", "shop", 1)
    await has_crashed.wait()
    await asyncio.sleep(0)
    kept.wake("shop", "shop")
    try:
        await passes.reach(2)
    finally:
        await kept.stop()


async def test_a_changed_stack_goes_before_those_that_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    may_go_on, all_are_done = asyncio.Event(), asyncio.Event()

    async def one_pass(_operator: object, _namespace: str, name: str) -> float:
        order.append(name)
        await may_go_on.wait()
        if len(order) == 4:
            all_are_done.set()
        return 600.0

    monkeypatch.setattr(daemons, "run_pass", one_pass)
    kept = Daemons(an_operator(), Health())
    for name in ("first", "second", "third", "changed"):
        kept.see("shop", name, 1)
    await asyncio.sleep(0)
    kept.wake("shop", "third")  # what children tell is no reason to go first
    kept.see("shop", "second", 1)  # nor is a finalizer
    kept.see("shop", "changed", 2)
    may_go_on.set()
    try:
        await asyncio.wait_for(all_are_done.wait(), 60)
    finally:
        await kept.stop()
    assert order == ["first", "changed", "second", "third"]


async def test_a_pass_under_way_ends_before_a_stop_and_no_rest_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wakes a rest then: the operator that comes next would wait for the Lease until it runs out."""
    has_begun, may_end = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def one_pass(_operator: object, _namespace: str, name: str) -> float:
        has_begun.set()
        await may_end.wait()
        done.append(name)
        return 600.0

    async def rest(*_: object) -> None:
        await asyncio.sleep(600)

    monkeypatch.setattr(daemons, "run_pass", one_pass)
    monkeypatch.setattr(daemons, "rest", rest)
    kept = Daemons(an_operator(), Health())
    kept.see("shop", "shop", 1)
    await has_begun.wait()
    asyncio.get_running_loop().call_later(0.05, may_end.set)
    await asyncio.wait_for(kept.stop(), daemons.STOP_SECONDS / 2)
    assert done == ["shop"]


class Passes:
    """Counts them; each does `work`, and a long rest follows it at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[None]] | None = None) -> None:
        self.begun, self.work = 0, work
        monkeypatch.setattr(daemons, "run_pass", self.one)
        monkeypatch.setattr(daemons, "rest", lambda *_: asyncio.sleep(600))
        monkeypatch.setattr(daemons, "PAUSE_SECONDS", 0.0)

    async def one(self, *_: object) -> float:
        self.begun += 1
        if self.work:
            await self.work()
        return 600.0

    async def reach(self, number: int) -> None:
        async with asyncio.timeout(60):
            while self.begun < number:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_run_of_a_scheduled_job_leads_to_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its ten events led to one, of every stack at the same minute."""
    passes = Passes(monkeypatch)
    monkeypatch.setattr(daemons, "RUN_SECONDS", 1.0)
    kept = Daemons(an_operator(), Health())

    kept.see("shop", "shop", 1)
    try:
        await passes.reach(1)
        for _ in range(5):
            kept.wake_later("shop", "shop")
            await asyncio.sleep(0)
        assert passes.begun == 1
        await passes.reach(2)
        kept.wake_later("shop", "shop")
        kept.wake("shop", "shop")  # what cannot wait takes the rest with it
        await passes.reach(3)
        await asyncio.sleep(1.2)
        assert passes.begun == 3
    finally:
        await kept.stop()


async def test_what_a_pass_has_read_leads_to_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a start all objects are told of, while the first passes read them and long after."""
    operator, may_end = an_operator(), asyncio.Event()

    async def read() -> None:
        await may_end.wait()
        operator.looks["shop", "shop"] = SimpleNamespace(versions={"pod": "7"})

    passes = Passes(monkeypatch, read)
    kept = Daemons(operator, Health())

    async def told(*version: str) -> None:
        kept.wake("shop", "shop", version[:2] if version else None)  # type: ignore[arg-type]
        await asyncio.sleep(0.1)

    kept.see("shop", "shop", 1)
    try:
        await passes.reach(1)
        await told("pod", "7")
        may_end.set()
        await asyncio.sleep(0.1)
        await told("pod", "7")
        assert passes.begun == 1
        for number, version in enumerate([("pod", "8"), ("another pod", "7"), ()], start=2):
            await told(*version)
            await passes.reach(number)
        may_end.clear()
        await told("pod", "9")
        await passes.reach(5)
        await told("pod", "10")
        may_end.set()
        await passes.reach(6)
    finally:
        await kept.stop()
