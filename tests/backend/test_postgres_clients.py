"""The chaos harness' clients of PostgreSQL, on a real primary and its replica: what they read, and from whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg

from tests.backend.kit.processes import wait_until
from tests.backend.kit.servers import PASSWORD
from tests.chaos.clients import sql
from tests.chaos.clients.target import Postgres as Place
from tests.chaos.history import Outcome

if TYPE_CHECKING:
    import pytest

    from tests.backend.kit import servers

PLACE = Place("127.0.0.1", "127.0.0.1", "app", PASSWORD, "postgres")


def test_a_reader_knows_whether_a_primary_showed_it_a_list(
    pair: tuple[servers.Postgres, servers.Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = pair
    monkeypatch.setattr(sql, "PORT", primary.port)
    sql.prepare(PLACE)
    writer, reader = (
        sql.Writer(PLACE, PLACE.host, "sql-held", is_held=True),
        sql.Reader(PLACE, PLACE.host),
    )
    first, second = writer.key(0), writer.key(100)
    assert (reader.items("sql-held", first)[:2], reader.server) == (([], Outcome.OK), "primary")
    assert [writer.append(n)[1] for n in range(100)] == [Outcome.OK] * 100
    assert writer.server == "127.0.0.1/00000001"
    assert (reader.items("sql-held", first)[:2], reader.server) == ((list(range(100)), Outcome.OK), "primary")
    assert [reader.key("sql-held", 100, look) for look in (0, 1)] == [second, first]
    assert sql.read_all(PLACE) == {first: list(range(100))}
    monkeypatch.setattr(sql, "PORT", replica.port)
    behind = sql.Reader(PLACE, PLACE.host)
    wait_until(lambda: behind.items("sql-held", first)[0] == list(range(100)), "the replica has it, too")
    assert behind.server == "replica"


def until_warned(writer: sql.Writer) -> tuple[Outcome, str]:
    """Append until something is said: commits begin to wait a moment after the server was told."""
    for number in range(1, 10_000):
        _, outcome, words = writer.append(number)
        if words:
            return outcome, words
    raise AssertionError("no commit waits")


def test_a_commit_whose_wait_for_the_standby_was_cancelled_is_in_doubt(
    pair: tuple[servers.Postgres, servers.Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, _ = pair
    monkeypatch.setattr(sql, "PORT", primary.port)
    sql.prepare(PLACE)
    writer = sql.Writer(PLACE, PLACE.host, "sql-held", is_held=True)
    assert writer.append(0)[1] is Outcome.OK
    with psycopg.connect(primary.dsn, autocommit=True) as admin, ThreadPoolExecutor(1) as pool:
        admin.execute("SET synchronous_commit = local")

        def cancelled() -> bool:
            query = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            return admin.execute(query).fetchone() == (True,)

        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")
        try:
            told = pool.submit(until_warned, writer)
            wait_until(cancelled, "a wait is cancelled")
            outcome, words = told.result()
            assert (outcome, words.split(" due ")[0]) == (Outcome.UNKNOWN, "canceling wait for synchronous replication")
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")
