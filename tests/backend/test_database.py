"""The pool of connections: what it keeps, and how soon it lets go of a server that is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

from appstack_backend.database import Database
from appstack_backend.errors import DatabaseUnavailable
from appstack_backend.reads import NO_LSN, Reads, fetch_fresh
from tests.backend.kit import servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from appstack_backend.database import Connection

MOST_SECONDS = 5.0  # a failover takes longer, so nobody still waits for the old primary when the new one writes
HANG_SECONDS = 60.0
PID = "SELECT pg_backend_pid() AS pid"


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """One connection, for which nobody waits long."""
    database = Database(dsn, "test", size=1, patience_seconds=60)
    await database.open()
    yield database
    await database.close()


async def pid(conn: Connection) -> int:
    row = await (await conn.execute(PID)).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_busy_pool_keeps_its_connections(database: Database) -> None:
    """Waiting in vain says nothing of the server: closing what works would make the wait longer for all."""
    async with database.transaction() as conn:
        before = await pid(conn)
        with pytest.raises(DatabaseUnavailable):
            await database.run(pid, patience_seconds=0)
    assert await database.run(pid) == before


async def test_a_server_that_is_cut_off_is_noticed_before_its_successor_writes(database: Database) -> None:
    """What the kernel was told: of bytes that nobody acknowledges, and of an answer that does not come."""
    async with database.transaction() as conn:
        with socket.socket(fileno=os.dup(conn.fileno())) as sock:
            unacknowledged = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1_000
            idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            interval = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert 3.0 <= unacknowledged <= MOST_SECONDS, "a network that stutters is no dead server"
    # With a user timeout the count of probes plays no part: the first one after that time ends the connection.
    assert max(idle + interval, unacknowledged) + interval <= MOST_SECONDS


async def test_the_first_connection_to_a_new_primary_ends_those_to_the_former_one(tmp_path: Path) -> None:
    """The former one lives on and takes itself for the primary, as one that stood still does when it goes on."""
    with (
        servers.postgres(tmp_path / "former") as former,
        servers.replica(tmp_path / "successor", former) as successor,
    ):
        database = Database(former.dsn, "test", size=2, patience_seconds=60)
        await database.open()
        try:
            async with database.transaction(), database.transaction():
                pass  # two connections, which both are idle now
            promote(successor)
            database._pool.conninfo = successor.dsn  # as the Service does
            assert await ports(database) == {port_of(former)}, "nobody can know yet"
            ended = await database._pool.getconn()
            await ended.close()
            await database._pool.putconn(ended)  # another one takes its place
            assert await leads_to(database, port_of(successor)), "one of them still leads to the former"
        finally:
            await database.close()


async def test_what_a_frozen_primary_keeps_waiting_is_done_by_its_successor(tmp_path: Path) -> None:
    """Its kernel goes on acknowledging, so no connection breaks; and nobody else comes for a new one."""
    with (
        servers.postgres(tmp_path / "former") as former,
        servers.replica(tmp_path / "successor", former) as successor,
    ):
        database = Database(former.dsn, "test", size=2, patience_seconds=60)
        await database.open()
        begun, frozen = asyncio.Semaphore(0), asyncio.Event()

        async def work(conn: Connection) -> int:
            begun.release()
            await frozen.wait()
            await conn.execute("SELECT 1")
            return conn.info.port

        waiting = asyncio.gather(database.run(work), database.run(work))
        for _ in range(2):
            await asyncio.wait_for(begun.acquire(), HANG_SECONDS)
        former.signal(signal.SIGSTOP)
        try:
            frozen.set()
            promote(successor)
            database.dsn = database._pool.conninfo = successor.dsn  # as the Service does
            assert set(await asyncio.wait_for(waiting, HANG_SECONDS)) == {port_of(successor)}
        finally:
            former.signal(signal.SIGCONT)
            await database.close()


async def test_work_that_takes_long_is_left_in_peace(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the primary is found to be the same."""
    database = Database(dsn, "test", size=1, patience_seconds=0)
    found: list[int] = []
    look = database._look

    async def noted(limit_seconds: float) -> int:
        found.append(await look(limit_seconds))
        return found[-1]

    monkeypatch.setattr(database, "_look", noted)
    await database.open()
    try:
        async with database.transaction() as conn:
            async with asyncio.timeout(HANG_SECONDS):
                while len(found) < 2:
                    await conn.execute("SELECT pg_sleep(0.2)")
            await conn.execute("SELECT 1")
        assert set(found) == {database._timeline}
    finally:
        await database.close()


async def test_a_server_that_follows_another_one_is_no_primary(tmp_path: Path) -> None:
    """As a demoted one that is cut off: it answers with what was. The same connection serves once it is promoted."""
    with (
        servers.postgres(tmp_path / "primary") as primary,
        servers.replica(tmp_path / "replica", primary) as replica,
    ):
        database = Database(replica.dsn, "test", size=1, patience_seconds=0.2)
        follower = Database(replica.dsn, "test", size=1, patience_seconds=60, may_follow=True)
        await database.open()
        await follower.open()
        try:
            with pytest.raises(DatabaseUnavailable):
                await database.fetch_one(PID)
            with pytest.raises(DatabaseUnavailable):
                await database.run(pid)
            with pytest.raises(psycopg.OperationalError):
                async with database.transaction():
                    pass
            assert await follower.fetch_one(PID)
            assert (await fetch_fresh(follower, NO_LSN, pid))[1], "it follows"
            kept = await database._pool.getconn()
            promote(replica)
            await database._pool.putconn(kept)
            assert await database.run(pid, patience_seconds=60) == kept.info.backend_pid
            await database.execute("CREATE TABLE written_by_the_successor AS SELECT generate_series(1, 1000)")
            needed = await Reads(database, follower, 1).lsn()
            found, is_replica = await fetch_fresh(follower, needed, pid)
            assert found, "nothing is fresher than the primary"
            assert not is_replica
            former = Database(primary.dsn, "test", size=1, patience_seconds=60)
            await former.open()
            found, _ = await fetch_fresh(former, needed, pid)
            assert found is None, "it takes itself for the primary, and is old"
            await former.close()
        finally:
            await database.close()
            await follower.close()


async def leads_to(database: Database, port: int) -> bool:
    """Whether both connections of a pool soon lead there; new ones are made in the background."""
    for _ in range(2_400):  # a limit for hangs
        with suppress(psycopg.OperationalError):  # ended while we held it
            if await ports(database) == {port}:
                return True
        await asyncio.sleep(0.05)
    return False


async def ports(database: Database) -> set[int]:
    """Whom the two connections of a pool lead to."""
    async with database.transaction() as one, database.transaction() as two:
        return {one.info.port, two.info.port}


def promote(server: servers.Postgres) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_promote()")


def port_of(server: servers.Postgres) -> int:
    return int(psycopg.conninfo.conninfo_to_dict(server.dsn)["port"] or 0)
