"""Two versions at once: the code of an earlier release on the schema of today, and the code of today on an earlier one.

`releases/schema-5.zip` holds the sources as they were when migration 0005 was the last one.
"""

from __future__ import annotations

import random
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg

from appstack_backend import schema
from tests.backend.conftest import settings
from tests.backend.kit import feeds
from tests.backend.kit.processes import ADMIN_TOKEN, Backend, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

OLD = Path(__file__).parent / "releases" / "schema-5.zip"
OLD_VERSION = 5
THING = {"name": "Thing", "category": "c", "supplier": "s", "price": "1.50", "currency": "EUR", "stock": {"main": 3}}


LINE = (feeds.HEADER + "A,n,c,s,1,EUR,1,\n").encode()
REQUESTS: tuple[tuple[str, str, bytes | None, dict[str, str]], ...] = (
    ("GET", "/v1/products/A", None, {}),
    ("POST", "/v1/imports", LINE, {"Content-Type": "text/csv"}),
)
CLIENTS_OF_EACH_KIND = 3


@dataclass
class Service:
    """What a Service is to its clients: the ports of those that were ready when they were last asked."""

    ports: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    ends: threading.Event = field(default_factory=threading.Event)

    def one_that_is_ready(self) -> int | None:
        """Somebody is, sooner or later; nobody in the end."""
        while not self.ends.is_set():
            if ready := tuple(self.ready):
                return random.choice(ready)
            self.ends.wait(0.1)
        return None

    def watch(self) -> None:
        while not self.ends.wait(0.1):
            self.ready = {port for port in tuple(self.ports) if is_ready(port)}


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
    except httpx.TransportError:
        return False


@dataclass
class Client:
    """One who sends without a pause, over one connection as long as it may, or over a new one each time."""

    service: Service
    keeps_connection: bool
    answers: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self) -> None:
        connection: HTTPConnection | None = None
        while not self.service.ends.is_set():
            if connection is None:
                if (port := self.service.one_that_is_ready()) is None:
                    return
                connection = HTTPConnection("127.0.0.1", port, timeout=60)
            answer = self.send(connection, *REQUESTS[self.answers % len(REQUESTS)])
            self.answers += 1
            if answer is None or answer.will_close or not self.keeps_connection:
                connection.close()
                connection = None

    def send(
        self, connection: HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> HTTPResponse | None:
        """One request, sent once: whatever but its success is a failure."""
        try:
            connection.request(method, path, body, headers | {"Authorization": f"Bearer {ADMIN_TOKEN}"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return None
        if answer.status not in (200, 202):
            self.failures.append(f"{method} {path}: {answer.status}")
        return answer


@contextmanager
def traffic(service: Service) -> Iterator[list[Client]]:
    """Clients that keep their connections and clients that do not, at work."""
    clients = [Client(service, keeps) for keeps in (True, False) for _ in range(CLIENTS_OF_EACH_KIND)]
    threads = [threading.Thread(target=service.watch)]
    threads[0].start()
    try:
        wait_until(lambda: service.ready, "somebody is ready")
        for client in clients:
            threads.append(threading.Thread(target=client.run))
            threads[-1].start()
        yield clients
    finally:
        service.ends.set()
        for thread in threads:
            thread.join()


def test_no_request_fails_while_every_api_is_replaced(backend: Backend) -> None:
    """One after the other is told to stop, as the Deployment does it: a new one first, then the old one goes."""
    service, unlimited = (
        Service(),
        {"RATE_LIMIT_PER_SECOND": "0", "DRAIN_PAUSE_SECONDS": "8"},
    )  # until the Service has forgotten it
    olds = [(backend.start_api(**unlimited), backend.api_port) for _ in range(2)]
    assert backend.client().http.put("/v1/products/A", json=THING).is_success
    service.ports |= {port for _, port in olds}
    with traffic(service) as clients:
        for old, port in olds:
            backend.start_api(**unlimited)
            service.ports.add(backend.api_port)
            wait_until(lambda: backend.api_port in service.ready, "the new one is ready")
            before = [client.answers for client in clients]
            assert old.terminate() == 0
            service.ports.remove(port)
            wait_until(
                lambda: all(client.answers > count for client, count in zip(clients, before, strict=True)),  # noqa: B023
                "everybody goes on",
            )
    assert [failure for client in clients for failure in client.failures] == []
    assert min(client.answers for client in clients) > 20


def old_release(backend: Backend) -> Backend:
    """The same environment with the code of the earlier release."""
    environment = backend.environment | {"PYTHONPATH": str(OLD)}
    folder = backend.folder / "old"
    folder.mkdir()
    return Backend(environment, folder, command=(sys.executable, "-m", "appstack_backend.main"))


def test_old_code_works_on_the_new_schema_beside_new_code(backend: Backend) -> None:
    """As in a rolling update: first the migrations, then both versions serve and work together."""
    old = old_release(backend)
    try:
        old.start_api()
        old.start_worker("bulk")
        backend.start_api()
        feed = feeds.rows(1_500, seed=61)
        assert old.client().feed(feeds.as_csv(feed))["state"] == "succeeded"
        job = backend.client().feed(feeds.as_csv(feed))  # received by new code, applied by old code
        assert (job["state"], job["rows"]["imported"]) == ("succeeded", 1_500)
        created = old.client().http.put("/v1/products/A", json=THING)
        assert created.status_code == 201
        patched = backend.client().http.patch("/v1/products/A", json={"price": "2"})
        assert patched.json()["price"] == "2"
        wait_until(lambda: old.client().http.get("/v1/products/A").json()["price"] == "2", "old code shows it", 40)
        assert old.client().http.delete("/v1/products/A").status_code == 204
        assert feeds.exported(old.client().export()) == feeds.catalogue(feed)
        old.started[1].kill()
        backend.start_worker()
        job = old.client().feed(feeds.as_csv(feed))  # received by old code, applied by new code
        assert (job["state"], job["rows"]["imported"]) == ("succeeded", 1_500)
        assert feeds.exported(backend.client().export()) == feeds.catalogue(feed)
    finally:
        old.stop()


def test_new_code_waits_for_its_migrations_and_touches_nothing_before(
    empty_dsn: str, redis: dict[str, str], rabbitmq: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that came before its migration consumes nothing; an API is unready. Then both go to work."""
    migrations = schema.load_migrations()
    schema.migrate(empty_dsn, [one for one in migrations if one.version <= OLD_VERSION])
    backend = Backend(settings(empty_dsn, redis, rabbitmq), tmp_path)
    try:
        worker = backend.start("worker", "--queues", "bulk")
        wait_until(lambda: "waiting for migrations" in worker.log.read_text(), "the worker waits")
        assert '"consuming"' not in worker.log.read_text()
        backend.run("migrate")
        wait_until(lambda: '"consuming"' in worker.log.read_text(), "the worker works")
        backend.start_api()
        assert backend.client().feed(feeds.as_csv(feeds.rows(10, seed=62)))["state"] == "succeeded"
    finally:
        backend.stop()


def test_migrations_only_expand(empty_dsn: str) -> None:
    """Every table and column of the earlier release is still there, and none of its columns became stricter."""
    columns = """
        SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_schema = 'public'"""
    migrations = schema.load_migrations()
    schema.migrate(empty_dsn, [one for one in migrations if one.version <= OLD_VERSION])
    with psycopg.connect(empty_dsn) as conn:
        before = set(conn.execute(columns).fetchall())
        required = "SELECT table_name, column_name FROM information_schema.columns WHERE is_nullable = 'NO'"
        known = {(row[0], row[1]) for row in before}
    schema.migrate(empty_dsn, migrations)
    with psycopg.connect(empty_dsn) as conn:
        assert before <= set(conn.execute(columns).fetchall())
        tables = {table for table, _ in known}
        added = conn.execute(required + " AND column_default IS NULL AND is_identity = 'NO'").fetchall()
        assert {(table, column) for table, column in added if table in tables} <= known
