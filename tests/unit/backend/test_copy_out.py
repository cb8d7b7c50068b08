"""What is told of a server that sends nothing of a copy, and what many copies leave to others."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from appstack_backend.database import server_is_lost
from appstack_backend.exports.copy_out import CopyOut

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 40  # more than asyncio has threads on any machine


async def test_a_silent_copy_alone_does_not_tell_that_its_server_is_lost() -> None:
    """It may look for rows for long: then all other reads would go to the primary for nothing."""
    copy = CopyOut("", sql.Composed([]), 1, silent_seconds=0.01)
    with pytest.raises(psycopg.Error, match=r"nothing for 0\.01 s") as caught:
        await copy._next(asyncio.Queue())
    assert not server_is_lost(caught.value)


async def test_many_copies_leave_the_threads_in_which_names_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without which no connection that was lost can be made anew until one of the exports has ended."""
    end = threading.Event()

    def read(_: CopyOut, hand_over: Callable[[bytes | None], None]) -> None:
        end.wait(60)
        hand_over(None)

    async def run(copy: CopyOut) -> list[bytes]:
        return [block async for block in copy.blocks()]

    monkeypatch.setattr(CopyOut, "_read", read)
    copies = [asyncio.create_task(run(CopyOut("", sql.Composed([]), 1))) for _ in range(MANY)]
    try:
        for _ in range(5):  # turns of the loop until each has its thread, or waits for one
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 5432)
    finally:
        end.set()
        assert await asyncio.gather(*copies) == [[]] * MANY
