"""The pool of connections: what it keeps, and how soon it lets go of a server that is gone."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from appstack_backend.database import Database
from appstack_backend.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_backend.database import Connection

MOST_SECONDS = 5.0  # a failover takes longer, so nobody still waits for the old primary when the new one writes
PID = "SELECT pg_backend_pid() AS pid"


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """One connection, for which nobody waits long."""
    database = Database(dsn, "test", size=1, patience_seconds=10)
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
