"""Reads that one of two servers does not answer in time. One server plays both, who goes by the name of its client."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from prometheus_client import REGISTRY
from psycopg_pool import PoolTimeout

from appstack_backend import reads as balanced
from appstack_backend.database import Database
from appstack_backend.processes import REPLICA_POOL_SECONDS
from appstack_backend.reads import NO_LSN, SILENT_SECONDS, Reads
from appstack_backend.repository import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZE = 4
UNHEARD_OF = "F" * 8 + "0" * 8  # a position that no server will ever reach
CONNECTION = "SELECT pg_backend_pid() AS number"
BY = "SELECT current_setting('application_name') AS server"
SLEEPS = (
    f"{BY}, pg_sleep(CASE current_setting('application_name') WHEN 'replica' THEN %(replica)s ELSE %(primary)s END)"
)
REFUSES = "SELECT refuse(%s) AS server"
REFUSE = """
    CREATE FUNCTION refuse(code text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('application_name') = 'replica' THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = code;
        END IF;
        RETURN current_setting('application_name');
    END $$"""
# A look for a new primary, beside work that takes long, is none of the reads.
AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = %s AND state = 'active' AND query LIKE '%%pg_sleep%%'"""


@pytest.fixture
async def reads(dsn: str) -> AsyncIterator[Reads]:
    async for made in both(dsn, f"{dsn}?application_name=replica"):
        yield made


async def both(dsn: str, replica_dsn: str) -> AsyncIterator[Reads]:
    primary = Database(f"{dsn}?application_name=primary", "primary", SIZE, patience_seconds=10)
    replica = Database(replica_dsn, "readonly", SIZE, 0.0, REPLICA_POOL_SECONDS, may_follow=True)
    await primary.open()
    await replica.open()
    reads = Reads(primary, replica, most_stale_seconds=60)
    await reads.observe()
    yield reads
    await replica.close()
    await primary.close()


async def all_are_at_work(dsn: str, name: str) -> None:
    """Until a server works on each connection."""
    async with asyncio.timeout(120), await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        while await at_work(conn, name) < SIZE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def at_work(conn: psycopg.AsyncConnection[Any], name: str) -> int:
    """How many queries a server has to do at this moment."""
    row = await (await conn.execute(AT_WORK, (name,))).fetchone()
    return row[0] if row else 0


async def most_at_work(dsn: str, name: str, until: asyncio.Future[Any]) -> int:
    """The most queries that a server had to do at once."""
    most = 0
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        while not until.done():
            most = max(most, await at_work(conn, name))
            await asyncio.sleep(0.02)
    return most


async def test_a_replica_that_is_slow_makes_the_primary_do_a_part_of_its_work_alone(dsn: str, reads: Reads) -> None:
    """Else reads would take all its connections, and everything else would wait for them."""
    reader = reads.reader(NO_LSN)
    asked = asyncio.gather(*(reader.fetch_one(SLEEPS, {"replica": 2, "primary": 1.5}) for _ in range(16)))
    most = await most_at_work(dsn, "primary", asked)
    servers = {row["server"] for row in await asked if row}
    assert servers == {"primary", "replica"}, "who finds no place waits for the replica"
    assert most == SIZE // 2
    assert not reads.replica_is_left_alone


async def test_a_primary_that_is_slow_makes_the_replica_do_a_part_of_its_work_alone(
    dsn: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica has not replayed what is needed, so it is asked again and again."""
    monkeypatch.setattr(balanced, "SILENT_SECONDS", 60.0)  # the primary is asked when the replica has answered
    reader = reads.reader(UNHEARD_OF)
    asked = asyncio.gather(*(reader.fetch_one(SLEEPS, {"replica": 0.7, "primary": 4}) for _ in range(SIZE)))
    await all_are_at_work(dsn, "primary")  # each has been told once that the replica is too old
    assert await most_at_work(dsn, "replica", asked) == SIZE // 2
    assert [row["server"] for row in await asked if row] == ["primary"] * SIZE


async def test_a_replica_without_a_free_connection_is_not_lost(reads: Reads) -> None:
    """Who finds none waits for one, and asks the primary as well once it has answered nobody for a second."""
    assert reads.replica is not None
    reader, loop = reads.reader(NO_LSN), asyncio.get_running_loop()
    async with AsyncExitStack() as taken:
        for _ in range(SIZE):
            await taken.enter_async_context(reads.replica.transaction())
        seconds = []
        for _ in range(10):
            begun = loop.time()
            assert await reader.fetch_one(BY) == {"server": "primary"}
            seconds.append(loop.time() - begun)
        assert seconds[0] > SILENT_SECONDS / 2 > statistics.median(seconds[1:]), "only the first one waited"
        assert not reads.replica_is_left_alone
    assert await reader.fetch_one(BY) == {"server": "replica"}


@pytest.mark.parametrize("sqlstate", ["40001", "57014", "42P01", "53200", "54000", "XX000"])
async def test_a_replica_that_ends_or_refuses_a_query_is_not_lost(dsn: str, reads: Reads, sqlstate: str) -> None:
    """For the sake of its recovery, or with an error of its own: the primary answers, and the replica the next one."""
    with psycopg.connect(dsn) as conn:
        conn.execute(REFUSE)
    reader = reads.reader(NO_LSN)
    assert await reader.fetch_one(REFUSES, (sqlstate,)) == {"server": "primary"}
    assert not reads.replica_is_left_alone
    assert await reader.fetch_one(BY) == {"server": "replica"}


async def test_a_primary_without_a_free_connection_is_no_lost_replica(reads: Reads) -> None:
    """As an export meets it, which writes to the one while it reads from the other."""
    await reads.note_failure(PoolTimeout("in vain"))
    assert not reads.replica_is_left_alone


async def test_a_replica_that_was_promoted_is_left_for_one_that_follows(reads: Reads) -> None:
    """It keeps its connections; the address leads elsewhere by now, or will: one looks again once in a while."""
    reader = reads.reader(NO_LSN)
    first, *later = [row["number"] for _ in range(10) if (row := await reader.fetch_one(CONNECTION))]
    assert first not in later
    assert len(set(later)) < len(later) / 2, "not at each read"


async def test_a_replica_that_is_lost_is_left_alone(dsn: str) -> None:
    async for reads in both(dsn, "postgresql://app@127.0.0.1:9/none"):
        assert await reads.reader(NO_LSN).fetch_one(BY) == {"server": "primary"}
        assert reads.replica_is_left_alone


@pytest.mark.parametrize("filters", [{}, {"q": "thing"}, {"category": "a", "supplier": "b"}])
async def test_a_page_of_products_is_one_read(reads: Reads, filters: dict[str, str]) -> None:
    """Also where the planner is asked first: so it waits for a lost server once."""
    before = {name: told(name) for name in ("primary", "replica")}
    assert await pages.page_of_products(reads.reader(NO_LSN), filters, 50) == ([], None)
    assert {name: told(name) for name in before} == {**before, "replica": before["replica"] + 1}


def told(server: str) -> float:
    """How many reads it has answered."""
    return REGISTRY.get_sample_value("appstack_reads_total", {"server": server}) or 0.0
