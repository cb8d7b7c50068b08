"""What COPY sends comes in blocks, and so do its end and its failures; who gives it up waits for no query."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress

import psycopg
import pytest
from psycopg import sql

from appstack_backend.database import server_is_lost
from appstack_backend.exports.copy_out import CopyOut
from tests.backend.kit.processes import wait_until

SECONDS = 60  # of the query; to give it up takes a moment
SENT = "SELECT n, repeat('x', n % 50) FROM generate_series(1, 20000) n"
QUERIES = {
    "nothing yet": f"SELECT pg_sleep({SECONDS})",
    "little by little": f"SELECT pg_sleep(0.01) FROM generate_series(1, {SECONDS * 100})",
}
ACTIVE = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'"


def copy_of(dsn: str, query: str, block_bytes: int = 1 << 20) -> CopyOut:
    return CopyOut(dsn, sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(query)), block_bytes)


async def blocks_of(copy: CopyOut) -> list[bytes]:
    async with aclosing(copy.blocks()) as blocks:
        return [block async for block in blocks]


@pytest.mark.parametrize("block_bytes", [1, 10_000, 1 << 30])
async def test_all_rows_come_in_blocks(dsn: str, block_bytes: int) -> None:
    rows = [f"{number}\t{'x' * (number % 50)}\n".encode() for number in range(1, 20_001)]
    copy = copy_of(dsn, SENT, block_bytes)
    *blocks, last = await blocks_of(copy)
    assert b"".join([*blocks, last]) == b"".join(rows)
    assert copy.rows == len(rows)
    assert all(block_bytes <= len(block) < block_bytes + 60 for block in blocks)
    assert len(last) < block_bytes


async def test_no_row_is_an_empty_file(dsn: str) -> None:
    copy = copy_of(dsn, f"{SENT} WHERE n < 0")
    assert (await blocks_of(copy), copy.rows) == ([b""], 0)


async def test_what_fails_in_mid_copy_is_no_end(dsn: str) -> None:
    """After any number of rows, in a block or between two."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        await blocks_of(copy_of(dsn, "SELECT 1 / (19999 - n) FROM generate_series(1, 20000) n", 1_000))


async def test_a_server_that_ends_in_mid_copy_is_lost(dsn: str) -> None:
    copy = copy_of(dsn, QUERIES["little by little"], 100)
    with psycopg.connect(dsn, autocommit=True) as conn:
        reading = asyncio.create_task(blocks_of(copy))
        await asyncio.to_thread(wait_until, lambda: conn.execute(ACTIVE).fetchone() is not None, "the query runs")
        conn.execute(ACTIVE.replace("SELECT", "SELECT pg_terminate_backend(pid)", 1))
        with pytest.raises(psycopg.OperationalError) as caught:
            await reading
        assert server_is_lost(caught.value)


@pytest.mark.parametrize("query", QUERIES)
async def test_who_gives_up_waits_for_no_query(dsn: str, query: str) -> None:
    copy = copy_of(dsn, QUERIES[query])
    with psycopg.connect(dsn, autocommit=True) as conn:
        reading = asyncio.create_task(blocks_of(copy))
        await asyncio.to_thread(wait_until, lambda: conn.execute(ACTIVE).fetchone() is not None, "the query runs")
        began = time.monotonic()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        assert time.monotonic() - began < SECONDS / 3
        await asyncio.to_thread(wait_until, lambda: conn.execute(ACTIVE).fetchone() is None, "it is gone there as well")
