"""An export whose server stands still while it is read is written from another one, and nobody waits for the first."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
import pytest

from appstack_backend import schema
from appstack_backend.database import Database
from appstack_backend.exports import write
from appstack_backend.reads import Reads
from appstack_backend.repository import exports
from tests.backend.kit import servers
from tests.backend.kit.processes import wait_until
from tests.backend.test_copy_out import ACTIVE
from tests.backend.test_database import HANG_SECONDS, promote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PRODUCTS = """
    INSERT INTO products (sku, name, category, supplier, price, currency, source_job, source_line)
    SELECT 'S' || n, 'n', 'c', 's', 1, 'EUR', 1, n FROM generate_series(1, 1000) n"""
HAS_REPLAYED = "SELECT WHERE pg_last_wal_replay_lsn() >= %s::pg_lsn"
IS_LOCKED = "SELECT FROM pg_locks WHERE relation = 'products'::regclass AND mode = 'AccessExclusiveLock'"


@pytest.fixture
def servers_of_a_stack(tmp_path: Path) -> Iterator[tuple[servers.Postgres, servers.Postgres]]:
    with servers.postgres(tmp_path / "primary") as primary:
        schema.migrate(primary.dsn, schema.load_migrations())
        with servers.replica(tmp_path / "replica", primary) as replica:
            yield primary, replica


@asynccontextmanager
async def opened(dsn: str, patience_seconds: float = 60, may_follow: bool = False) -> AsyncIterator[Database]:
    database = Database(dsn, "test", size=3, patience_seconds=patience_seconds, may_follow=may_follow)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def ordered(database: Database) -> UUID:
    """An export of a thousand products."""
    await database.execute(PRODUCTS)
    job_id = uuid4()
    await exports.create(database, job_id, "csv", {}, "o", "r", most=1)
    return job_id


def until(dsn: str, query: str, what: str, *values: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        wait_until(lambda: conn.execute(query.encode(), values or None).fetchone() is not None, what)


async def is_written(writing: asyncio.Task[None]) -> None:
    """The export ends, though a server stands still."""
    await asyncio.wait({writing}, timeout=HANG_SECONDS)
    assert writing.done(), "it waits for the frozen one"
    await writing


async def outcome(database: Database, job_id: UUID) -> tuple[str, int]:
    job = await exports.by_id(database, job_id)
    assert job
    return job["state"], job["rows"]


async def test_an_export_read_from_a_frozen_primary_is_written_by_its_successor(
    servers_of_a_stack: tuple[servers.Postgres, servers.Postgres],
) -> None:
    former, successor = servers_of_a_stack
    async with opened(former.dsn) as database:
        job_id = await ordered(database)
        with psycopg.connect(former.dsn) as blocker:
            replayed = blocker.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
            blocker.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")  # so that it is frozen before the first row
            writing = asyncio.create_task(write.write_export(Reads(database, None, 1), job_id, 0))
            await asyncio.to_thread(until, former.dsn, ACTIVE, "the rows are read")
            assert replayed
            await asyncio.to_thread(until, successor.dsn, HAS_REPLAYED, "the successor knows all", replayed[0])
            former.signal(signal.SIGSTOP)
            with servers.going_on_after(former):
                promote(successor)
                database.dsn = database._pool.conninfo = successor.dsn  # as the Service does
                await is_written(writing)
        assert await outcome(database, job_id) == ("succeeded", 1_000)
    assert not database.beside


async def test_an_export_read_from_a_frozen_replica_is_written_from_the_primary(
    servers_of_a_stack: tuple[servers.Postgres, servers.Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "REPLICA_SILENT_SECONDS", 1.0)
    primary, replica = servers_of_a_stack
    async with opened(primary.dsn) as database, opened(replica.dsn, 0, may_follow=True) as follower:
        job_id = await ordered(database)
        with psycopg.connect(primary.dsn) as blocker:
            blocker.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")  # on the replica as well, once it is told
            blocker.execute("SELECT pg_switch_wal()")
            await asyncio.to_thread(until, replica.dsn, IS_LOCKED, "the lock is replayed")
            writing = asyncio.create_task(write.write_export(Reads(database, follower, 1), job_id, 1))
            await asyncio.to_thread(until, replica.dsn, ACTIVE, "the rows are read")
            replica.signal(signal.SIGSTOP)
        with servers.going_on_after(replica):
            await is_written(writing)
        assert await outcome(database, job_id) == ("succeeded", 1_000)
