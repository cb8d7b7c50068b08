"""Who comes next when more stacks want a pass than may have one."""

from __future__ import annotations

import asyncio

from appstack_operator.turns import Turns


class Queue:
    """Keys that wait for one turn, and the order in which they get it."""

    def __init__(self) -> None:
        self.turns = Turns(1)
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, key: str) -> None:
        self.tasks[key] = asyncio.create_task(self._work(key))
        await asyncio.sleep(0)

    async def _work(self, key: str) -> None:
        await self.turns.acquire(key)
        self.order.append(key)

    async def run(self, number: int) -> list[str]:
        """Give the turn on so many times."""
        for _ in range(number):
            self.turns.release()
            await asyncio.sleep(0)
        return self.order


async def a_queue(*keys: str) -> Queue:
    """The first has the turn."""
    queue = Queue()
    for key in keys:
        await queue.come(key)
    assert queue.order == [keys[0]]
    return queue


async def test_turns_come_in_order() -> None:
    assert await (await a_queue("a", "b", "c")).run(2) == ["a", "b", "c"]


async def test_who_is_in_a_hurry_goes_first_even_if_it_waits_already() -> None:
    queue = await a_queue("a", "b", "c", "d", "e")
    queue.turns.hurry("d")
    queue.turns.hurry("c")
    assert await queue.run(4) == ["a", "c", "d", "b", "e"]


async def test_a_hurry_is_over_with_the_turn() -> None:
    queue = await a_queue("a", "b")
    queue.turns.hurry("b")
    await queue.run(1)
    for key in ("c", "b"):
        await queue.come(key)
    assert await queue.run(2) == ["a", "b", "c", "b"]


async def test_nobody_waits_for_who_has_gone() -> None:
    queue = await a_queue("a", "b", "c")
    queue.tasks["b"].cancel()
    await asyncio.sleep(0)
    assert await queue.run(1) == ["a", "c"]


async def test_a_turn_that_was_given_to_who_is_just_cancelled_is_not_lost() -> None:
    queue = await a_queue("a", "b", "c")
    queue.turns.release()
    queue.tasks["b"].cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert queue.order == ["a", "c"]


async def test_a_turn_that_nobody_waits_for_is_kept() -> None:
    queue = await a_queue("a")
    await queue.run(1)
    await queue.come("b")
    assert queue.order == ["a", "b"]
