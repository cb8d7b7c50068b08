"""The pooler, as the operator configures it, between a client and a PostgreSQL that goes away and comes back."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import psycopg
import pytest

from appstack_operator.desired.pooler import build_configuration
from tests.backend.kit import servers
from tests.backend.kit.processes import wait_until
from tests.backend.kit.rootfs import Box, free_port
from tests.unit.operator.factories import a_context, a_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANG_LIMIT_SECONDS = 120.0
REFUSED = "server login has been failing"
# Longer than one look of a client that would be refused at once.
AWAY_SECONDS = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.Postgres]:
    """A PostgreSQL of this test's own, with the database of a stack."""
    with servers.postgres(tmp_path / "postgres") as running:
        with psycopg.connect(running.dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE app")
        yield running


@pytest.fixture
def pooled(tmp_path: Path, server: servers.Postgres) -> Iterator[str]:
    """The address of a pooler before that server."""
    box, port = Box("postgres", servers.POSTGRES_USER, tmp_path / "pooler"), free_port()
    text = build_configuration(a_stack(postgres={"pooler": {"enabled": True}}), a_context())
    text = text.replace("host=shop-postgres-rw.shop.svc.cluster.local port=5432", f"host=127.0.0.1 port={server.port}")
    text = text.replace("listen_port = 5432", f"listen_port = {port}").replace("/run/pooler", "/scratch")
    file = box.write("pgbouncer.ini", text)
    account = ("APP_USERNAME=app", f"APP_PASSWORD={servers.PASSWORD}")
    running = box.start("env", servers.PATH, *account, "/usr/local/lib/appstack/pooler.py", file)
    url = f"postgresql://app:{servers.PASSWORD}@127.0.0.1:{port}/app"
    try:
        servers.wait_for(partial(is_served, url), running, "PgBouncer")
        yield url
    finally:
        running.stop()


def is_served(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def in_recovery(url: str) -> bool:
    with psycopg.connect(url) as client:
        row = client.execute("SELECT pg_is_in_recovery()").fetchone()
    assert row is not None
    return bool(row[0])


def write(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as client:
        client.execute("INSERT INTO kept VALUES (1)")


def write_as_soon_as_it_can(url: str) -> None:
    """Wait in the pooler, or come again where it says that its last attempt to reach the server has failed."""
    deadline = time.monotonic() + HANG_LIMIT_SECONDS
    while True:
        try:
            return write(url)
        except psycopg.OperationalError as error:
            if REFUSED not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def test_clients_outlive_the_absence_of_the_primary(server: servers.Postgres, pooled: str) -> None:
    """Whose query is under way when the server dies is told so.

    Whoever comes then waits in the pooler, or is told at once that its last attempt has failed; nobody is lost.
    """
    with psycopg.connect(pooled, autocommit=True) as client, ThreadPoolExecutor(1) as pool:
        client.execute("CREATE TABLE kept (i int)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            wait_until(lambda: client.execute("SELECT 1") is None, "the death of the server's own process is noticed")
        late = pool.submit(write_as_soon_as_it_can, pooled)
        time.sleep(AWAY_SECONDS)
        assert not late.done(), f"another answer than to wait or to come again: {late.exception()}"
        server.start()
        late.result(HANG_LIMIT_SECONDS)
    with psycopg.connect(pooled) as client:
        assert client.execute("SELECT i FROM kept").fetchall() == [(1,)]


def test_the_pooler_looks_for_the_primary_several_times_a_second(server: servers.Postgres, pooled: str) -> None:
    """Once a second made 2.5 s of a switchover that clients of the primary felt for 1.1 s (n = 1)."""
    server.kill()
    looks: list[float] = []
    with ThreadPoolExecutor(1) as pool, socket.create_server(("127.0.0.1", server.port)) as refusing:
        refusing.settimeout(HANG_LIMIT_SECONDS)
        late = pool.submit(write_as_soon_as_it_can, pooled)
        while len(looks) < 8:
            refusing.accept()[0].close()
            looks.append(time.monotonic())
        refusing.close()
        server.start()
        with pytest.raises(psycopg.errors.UndefinedTable):
            late.result(HANG_LIMIT_SECONDS)
    assert median(later - sooner for sooner, later in pairwise(looks)) < 0.7


def test_the_pooler_never_stays_with_a_demoted_primary(server: servers.Postgres, pooled: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert not in_recovery(pooled)
        server.restart_as(standby=True)
        answer = pool.submit(in_recovery, pooled)
        time.sleep(AWAY_SECONDS)
        assert not answer.done(), "a server that only reads has answered"
        server.restart_as(standby=False)
        assert answer.result(HANG_LIMIT_SECONDS) is False
