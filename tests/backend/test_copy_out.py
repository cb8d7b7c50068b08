"""Who gives up an export, as a worker that is to end, waits for no query that finds nothing for long."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress

import psycopg
import pytest
from psycopg import sql

from appstack_backend.exports.copy_out import CopyOut
from tests.backend.kit.processes import wait_until

SECONDS = 60  # of the query; to give it up takes a moment
QUERIES = {
    "nothing yet": f"SELECT pg_sleep({SECONDS})",
    "little by little": f"SELECT pg_sleep(0.01) FROM generate_series(1, {SECONDS * 100})",
}
ACTIVE = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'"


@pytest.mark.parametrize("query", QUERIES)
async def test_who_gives_up_waits_for_no_query(dsn: str, query: str) -> None:
    copy = CopyOut(dsn, sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(QUERIES[query])), 1 << 20)

    async def read() -> None:
        async with aclosing(copy.blocks()) as blocks:
            async for _ in blocks:
                pass

    with psycopg.connect(dsn, autocommit=True) as conn:
        reading = asyncio.create_task(read())
        await asyncio.to_thread(wait_until, lambda: conn.execute(ACTIVE).fetchone() is not None, "the query runs")
        began = time.monotonic()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        assert time.monotonic() - began < SECONDS / 3
        await asyncio.to_thread(wait_until, lambda: conn.execute(ACTIVE).fetchone() is None, "it is gone there as well")
