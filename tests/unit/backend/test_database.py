"""What an error of PostgreSQL says of the work, and of the server; how soon one that comes back is found."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from appstack_backend.database import Database, is_transient, server_is_lost
from appstack_backend.errors import DatabaseUnavailable

LOST, BUSY, LASTING = (True, True), (True, False), (False, False)


@pytest.mark.parametrize(
    ("sqlstate", "says"),
    [
        *((code, LOST) for code in ("08006", "08P01", "57P01", "57P02", "57P03", "25006", "55000")),
        *((code, BUSY) for code in ("40001", "40003", "40P01", "53100", "53200", "53300", "55P03", "57014", "58030")),
        *((code, LASTING) for code in ("22001", "23505", "42P01", "53400", "54000", "54001", "55006", "XX000")),
    ],
)
def test_a_sqlstate_says_whether_to_try_again_and_whether_the_server_is_lost(
    sqlstate: str, says: tuple[bool, bool]
) -> None:
    error = psycopg.errors.lookup(sqlstate)()
    assert (is_transient(error), server_is_lost(error)) == says


def test_a_broken_connection_is_a_lost_server_and_a_busy_pool_is_none() -> None:
    broken, busy = psycopg.OperationalError("the connection is lost"), PoolTimeout("in vain")
    assert (is_transient(broken), server_is_lost(broken)) == LOST
    assert (is_transient(busy), server_is_lost(busy)) == BUSY


async def test_a_server_that_is_away_is_looked_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one who waits alone, too: within a second of its return it is to be found."""
    looks = [time.monotonic()]

    async def connect(*_: Any, **__: Any) -> Any:
        looks.append(time.monotonic())
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    database = Database("", "test", size=3, patience_seconds=4, may_follow=True)  # nobody else looks
    await database.open()
    try:
        with pytest.raises(DatabaseUnavailable):
            await database.fetch_one("SELECT 1")
    finally:
        await database.close()
    assert max(after - before for before, after in pairwise(looks)) < 0.9
