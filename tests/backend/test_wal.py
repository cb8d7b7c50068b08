"""A dead replica's slot on a real primary: with the settings of a small volume its WAL does not fill it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from appstack_operator.desired.postgres import wal_settings
from tests.backend.kit import servers

if TYPE_CHECKING:
    from pathlib import Path

VOLUME = 2**30
SEGMENT = 16 * 2**20


def test_a_dead_replica_never_fills_the_disk(tmp_path: Path) -> None:
    """The bug of others: a slot keeps WAL for a member that is gone until the primary's disk is full."""
    kept = wal_settings(VOLUME)
    with servers.postgres(tmp_path / "postgres") as server:
        lines = "".join(f"{name} = '{value}'\n" for name, value in kept.items())
        server.append_settings(lines)
        server.kill()
        server.start(max_wal_size=kept["max_wal_size"])
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_create_physical_replication_slot('shop_postgres_1', true)")
            connection.execute("CREATE TABLE written (number int)")
            for _ in range(VOLUME // SEGMENT):  # as much WAL as the whole volume
                connection.execute("INSERT INTO written VALUES (1)")
                connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
            slot = connection.execute("SELECT wal_status FROM pg_replication_slots").fetchone()
            size = connection.execute("SELECT sum(size) FROM pg_ls_waldir()").fetchone()
    assert slot == ("lost",), "the replica that comes back is copied anew"
    assert size is not None
    assert size[0] < VOLUME // 2
