"""One query for all who ask in the same moment, and none that has begun for who asks later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from appstack_backend.together import Together

if TYPE_CHECKING:
    from collections.abc import Sequence

Query = tuple[list[str], str | None]


class Table:
    """Everything but "none"; it notes what it was asked."""

    def __init__(self) -> None:
        self.queries: list[Query] = []
        self.error: Exception | None = None

    async def look_up(self, keys: Sequence[str], needed_lsn: str | None) -> dict[str, dict[str, Any]]:
        self.queries.append((sorted(keys), needed_lsn))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return {key: {"key": key, "query": len(self.queries)} for key in keys if key != "none"}


async def test_who_asks_at_once_is_answered_by_one_query() -> None:
    table = Table()
    together = Together(table.look_up, most=50)
    asked = [together.get(key, lsn) for key, lsn in (("a", "1"), ("b", "3"), ("none", "2"), ("a", "2"))]
    rows = await asyncio.gather(*asked)
    assert [row and row["key"] for row in rows] == ["a", "b", None, "a"]
    assert table.queries == [(["a", "b", "none"], "3")], "what suits the one who needs most suits all"


async def test_who_asks_once_a_query_has_begun_waits_for_another() -> None:
    table = Table()
    together = Together(table.look_up, most=50)
    first = asyncio.create_task(together.get("a", "1"))
    while not table.queries:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert (await together.get("a", "1") or {})["query"] == 2
    assert (await first or {})["key"] == "a"


async def test_who_needs_the_primary_does_not_take_the_others_there() -> None:
    table = Table()
    together = Together(table.look_up, most=50)
    await asyncio.gather(*(together.get(key, lsn) for key, lsn in (("a", None), ("b", "1"), ("c", None))))
    assert table.queries == [(["b"], "1"), (["a", "c"], None)]


async def test_a_query_has_a_limit() -> None:
    table = Table()
    together = Together(table.look_up, most=2)
    rows = await asyncio.gather(*(together.get(key, "1") for key in "abcde"))
    assert [row and row["key"] for row in rows] == list("abcde")
    assert [len(keys) for keys, _ in table.queries] == [2, 2, 1]


async def test_all_are_told_what_failed_and_who_left_harms_nobody() -> None:
    table = Table()
    table.error = LookupError("why")
    together = Together(table.look_up, most=50)
    asked = [asyncio.create_task(together.get(key, "1")) for key in "abc"]
    await asyncio.sleep(0)
    asked[0].cancel()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [table.error] * 2
    table.error = None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await together.get("a", "1")
    assert (await together.get("b", "1") or {})["key"] == "b"
