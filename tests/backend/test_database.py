"""The pool of connections: what it keeps, and how soon it lets go of a server that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from appstack_backend.database import Database
from appstack_backend.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_backend.database import Connection

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
