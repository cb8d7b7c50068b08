"""The chaos harness' clients of PostgreSQL, on a real primary and its replica: what they read, and from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    assert (reader.items("sql-held", first)[:2], reader.server) == ((list(range(100)), Outcome.OK), "primary")
    assert reader.newest == {"sql-held": second}, "a full list is left for the next"
    assert sql.read_all(PLACE) == {first: list(range(100))}
    monkeypatch.setattr(sql, "PORT", replica.port)
    behind = sql.Reader(PLACE, PLACE.host)
    wait_until(lambda: behind.items("sql-held", first)[0] == list(range(100)), "the replica has it, too")
    assert behind.server == "replica"
