"""The pooler, as the operator configures it, between a client and a PostgreSQL that goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from appstack_operator.desired.pooler import build_configuration
from tests.backend.kit import servers
from tests.backend.kit.processes import descendants, wait_until
from tests.backend.kit.rootfs import Box, Server, free_port
from tests.unit.operator.factories import a_context, a_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    with pooler(tmp_path / "pooler", server.port) as made:
        yield made.url


@dataclass(frozen=True, slots=True)
class Pooler:
    """Its address, and where it is probed."""

    url: str
    probes_port: int
    running: Server

    def signal(self, number: signal.Signals) -> None:
        """To PgBouncer itself."""
        found = descendants(self.running.process.pid)
        (bouncer,) = (pid for pid in found if Path(f"/proc/{pid}/comm").read_text() == "pgbouncer\n")
        os.kill(bouncer, number)

    def probe(self) -> int:
        """The code that it is answered with."""
        return httpx.get(f"http://127.0.0.1:{self.probes_port}/", timeout=HANG_LIMIT_SECONDS).status_code


@contextmanager
def pooler(folder: Path, primary_port: int) -> Iterator[Pooler]:
    """One that finds the primary at this port of loopback."""
    box, port, probes_port = Box("postgres", servers.POSTGRES_USER, folder), free_port(), free_port()
    text = build_configuration(a_stack(postgres={"pooler": {"enabled": True}}), a_context())
    text = text.replace("host=shop-postgres-rw.shop.svc.cluster.local port=5432", f"host=127.0.0.1 port={primary_port}")
    text = text.replace("listen_port = 5432", f"listen_port = {port}").replace("/run/pooler", "/scratch")
    file = box.write("pgbouncer.ini", text)
    account = ("APP_USERNAME=app", f"APP_PASSWORD={servers.PASSWORD}", f"PROBES_PORT={probes_port}")
    running = box.start("env", servers.PATH, *account, "/usr/local/lib/appstack/pooler.py", file)
    made = Pooler(f"postgresql://app:{servers.PASSWORD}@127.0.0.1:{port}/app", probes_port, running)
    try:
        servers.wait_for(partial(is_served, made.url), running, "PgBouncer")
        yield made
    finally:
        running.stop()


class Service:
    """A port of loopback that leads new connections to one server; those that are made stay with theirs."""

    def __init__(self, leads_to: int) -> None:
        self.leads_to = leads_to
        port: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(port)))
        self._thread.start()
        self.port = port.result(HANG_LIMIT_SECONDS)

    async def _serve(self, port: Future[int]) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        port.set_result(server.sockets[0].getsockname()[1])
        await self._over.wait()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there = await asyncio.open_connection("127.0.0.1", self.leads_to)
            await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


@contextmanager
def service_of(server: servers.Postgres) -> Iterator[Service]:
    made = Service(server.port)
    try:
        yield made
    finally:
        made.end()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def who_serves(url: str, sessions: int) -> set[int]:
    """The ports of the servers that answer so many sessions at once."""
    with ExitStack() as stack:
        clients = [stack.enter_context(psycopg.connect(url)) for _ in range(sessions)]
        rows = [client.execute("SELECT inet_server_port()").fetchone() for client in clients]
    return {row[0] for row in rows if row}


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


def test_a_pooler_that_stands_still_is_not_ready(tmp_path: Path, server: servers.Postgres) -> None:
    """The kernel still took connections for it, and so it stayed in its Service for as long as it was frozen."""
    with pooler(tmp_path / "pooler", server.port) as made:
        wait_until(lambda: made.probe() == httpx.codes.OK, "it is ready")
        made.signal(signal.SIGSTOP)
        assert made.probe() == httpx.codes.SERVICE_UNAVAILABLE
        made.signal(signal.SIGCONT)
        wait_until(lambda: made.probe() == httpx.codes.OK, "it is ready again")


def test_a_former_primary_that_was_frozen_answers_nobody_again(tmp_path: Path, server: servers.Postgres) -> None:
    """It takes itself for the primary until it has looked at its lock; clients of the pooler once read from it."""
    with servers.postgres(tmp_path / "successor") as successor:
        with psycopg.connect(successor.dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE app")
        with (
            service_of(server) as service,
            pooler(tmp_path / "pooler", service.port) as pooled,
            ThreadPoolExecutor(20) as clients,
            servers.going_on_after(server),
        ):

            def is_served_by_the_successor() -> bool:
                with suppress(TimeoutError):
                    return clients.submit(who_serves, pooled.url, 1).result(2.0) == {successor.port}
                return False  # its query is at the frozen one, and stays there

            assert who_serves(pooled.url, 5) == {server.port}
            server.signal(signal.SIGSTOP)
            service.leads_to = successor.port
            wait_until(is_served_by_the_successor, "the successor serves")
            server.signal(signal.SIGCONT)
            assert who_serves(pooled.url, 10) == {successor.port}


def test_the_pooler_never_stays_with_a_demoted_primary(server: servers.Postgres, pooled: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert not in_recovery(pooled)
        server.restart_as(standby=True)
        answer = pool.submit(in_recovery, pooled)
        time.sleep(AWAY_SECONDS)
        assert not answer.done(), "a server that only reads has answered"
        server.restart_as(standby=False)
        assert answer.result(HANG_LIMIT_SECONDS) is False
