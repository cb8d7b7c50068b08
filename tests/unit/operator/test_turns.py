"""Who comes next when more stacks want a pass than may have one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from appstack_operator import turns
from appstack_operator.turns import Turns

if TYPE_CHECKING:
    import pytest


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


async def step_aside(queue: Queue, key: str) -> None:
    """In the middle of its turn; it is told as `key again` when it goes on."""

    async def go() -> None:
        await queue.turns.step_aside(key)
        queue.order.append(f"{key} again")

    queue.tasks[key] = asyncio.create_task(go())
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_nobody_steps_aside_where_nobody_is_in_a_hurry() -> None:
    queue = await a_queue("a", "b")
    await step_aside(queue, "a")
    assert queue.order == ["a", "a again"]


async def test_who_is_in_a_hurry_itself_does_not_step_aside() -> None:
    queue = await a_queue("a", "b")
    queue.turns.hurry("b")
    queue.turns.hurry("a")
    await step_aside(queue, "a")
    assert queue.order == ["a", "a again"]


async def test_all_who_are_in_a_hurry_pass_and_nobody_else() -> None:
    queue = await a_queue("a", "b", "c", "d")
    queue.turns.hurry("c")
    queue.turns.hurry("d")
    await step_aside(queue, "a")
    assert queue.order == ["a", "c"]
    assert await queue.run(3) == ["a", "c", "d", "a again", "b"]


async def test_a_hurry_that_comes_while_it_stands_aside_is_kept_for_its_next_turn() -> None:
    queue = await a_queue("a", "b", "c")
    queue.turns.hurry("c")
    await step_aside(queue, "a")
    queue.turns.hurry("a")
    await queue.run(1)
    await queue.come("a")
    assert await queue.run(2) == ["a", "c", "a again", "a", "b"]


async def test_nobody_stands_aside_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST_ASIDE_SECONDS", 0.01)
    queue = await a_queue("a", "b", "c")
    queue.turns.hurry("b")
    await step_aside(queue, "a")
    await asyncio.sleep(0.02)
    queue.turns.hurry("c")
    await queue.come("d")
    queue.turns.hurry("d")
    assert await queue.run(3) == ["a", "b", "c", "a again", "d"]


async def test_a_turn_of_who_is_cancelled_aside_is_not_counted_twice() -> None:
    queue = await a_queue("a", "b")
    queue.turns.hurry("b")
    await step_aside(queue, "a")
    queue.tasks["a"].cancel()
    await asyncio.gather(queue.tasks["a"], return_exceptions=True)
    queue.turns.release()  # as who had the turn does at its end
    await queue.come("c")
    assert queue.order == ["a", "b"]
    assert await queue.run(1) == ["a", "b", "c"]
