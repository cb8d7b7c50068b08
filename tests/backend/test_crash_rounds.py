"""Rounds of crashes: worker, API, RabbitMQ and PostgreSQL are killed at random points of one import.

Each kill is proven to have struck in mid-import. Afterwards the catalogue is that of an undisturbed import, no row
was counted twice, and its subscriber was told.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import psycopg
import pytest

from appstack_backend import schema
from tests.backend.conftest import settings
from tests.backend.kit import feeds, servers
from tests.backend.kit.processes import Backend, Process, wait_until
from tests.backend.kit.receiver import receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRESS = "SELECT state, rows_received, rows_imported FROM imports WHERE idempotency_key = %s"
UNDER_WAY = ("receiving", "queued", "running")
PATIENCE_SECONDS = 240.0  # of a busy machine; PostgreSQL recovers in seconds
FIRST_SEED, LONG_ROUNDS = int(os.environ.get("CRASH_SEED", "100")), int(os.environ.get("CRASH_ROUNDS", "50"))
LONG_ROWS = int(os.environ.get("CRASH_ROWS", "1000000"))
RESULTS = Path(__file__).resolve().parents[2] / "build" / "crash-rounds.json"
ENVIRONMENT = {
    "IMPORT_CHUNK_ROWS": "2000",
    "IMPORT_LEASE_SECONDS": "3",
    "WEBHOOK_ALLOW_PRIVATE": "true",
    "WORKER_WATCH_SECONDS": "2",
}


@dataclass
class Site:
    """Servers that may be killed, and a backend on them."""

    postgres: servers.Postgres
    rabbitmq: servers.RabbitMQ
    backend: Backend
    api: Process | None = None
    worker: Process | None = None
    struck: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.api, self.worker = self.backend.start_api(), self.backend.start_worker()

    def kill(self, victim: str) -> None:
        """Kill, and start again."""
        if victim == "worker":
            assert self.worker is not None
            self.worker.kill()
            self.worker = self.backend.start_worker()
        elif victim == "api":
            assert self.api is not None
            self.api.kill()
            self.api = self.backend.start_api()
        else:
            server = self.postgres if victim == "postgres" else self.rabbitmq
            server.kill()
            server.start()
        self.struck.append(victim)


@pytest.fixture(scope="module")
def site(redis: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with servers.postgres(folder / "postgres") as postgres, servers.rabbitmq(folder / "rabbitmq") as rabbitmq:
        schema.migrate(postgres.dsn, schema.load_migrations())
        backend = Backend(settings(postgres.dsn, redis, rabbitmq.url) | ENVIRONMENT, folder)
        site = Site(postgres, rabbitmq, backend)
        try:
            site.start()
            yield site
        finally:
            backend.stop()


def progress(site: Site, key: str) -> tuple[str, int, int]:
    """State, rows received, rows imported; asked again until PostgreSQL answers."""

    def ask() -> tuple[str, int, int] | None:
        try:
            with psycopg.connect(site.postgres.dsn, connect_timeout=2) as conn:
                row = conn.execute(PROGRESS, (key,)).fetchone()
                return (str(row[0]), int(row[1]), int(row[2])) if row else ("none", 0, 0)
        except psycopg.OperationalError:
            return None

    return wait_until(ask, "PostgreSQL answers", PATIENCE_SECONDS) or ("none", 0, 0)


def paced(site: Site, body: bytes, rows: int, key: str) -> Iterator[bytes]:
    """The body, never far ahead of what is imported, so that every kill meets an import that is under way."""
    pieces = 50
    for number in range(pieces):
        sent, lead = rows * number // pieces, rows // 5
        wait_until(partial(may_go_on, site, key, sent - lead), "workers keep up", PATIENCE_SECONDS)
        yield body[len(body) * number // pieces : len(body) * (number + 1) // pieces]


def may_go_on(site: Site, key: str, position: int) -> bool:
    """Whether enough is imported to send more; hang up if nobody receives any more (the server has answered)."""
    state, _, imported = progress(site, key)
    if imported < position and state not in UNDER_WAY:
        raise httpx.WriteError(f"the import is {state}")
    return imported >= position


def is_near(site: Site, key: str, position: int) -> bool:
    return progress(site, key)[2] >= position


def under_way(site: Site, key: str, position: int) -> tuple[str, int, int] | None:
    """How far it is, once it is so far; not between a killed API and the upload that goes on.

    An import that waits for its sender failed.
    """
    found = progress(site, key)
    return found if found[0] in UNDER_WAY and found[2] >= position else None


def send_until_accepted(site: Site, body: bytes, rows: int, key: str) -> None:
    """As a good client does it: the same body with the same key, until it is accepted."""

    def attempt() -> bool:
        api = site.backend.client()
        try:
            answer = api.post(paced(site, body, rows, key), Idempotency_Key=key)
        except httpx.TransportError:
            return False
        assert answer.status_code in (202, 409, 503), answer.text
        return answer.status_code == httpx.codes.ACCEPTED

    def slowly() -> bool:
        accepted = attempt()
        time.sleep(0 if accepted else 0.3)
        return accepted

    wait_until(slowly, "the upload is accepted", PATIENCE_SECONDS)


def crash_round(site: Site, rows: int, seed: int) -> None:
    """One import during which everything is killed once, in a drawn order at drawn points."""
    site.struck.clear()
    with psycopg.connect(site.postgres.dsn) as conn:
        conn.execute("TRUNCATE products, stock, subscriptions CASCADE")
    draw, key = random.Random(seed), uuid4().hex
    feed = feeds.rows(rows, seed=seed, keys=rows // 3)
    order = draw.sample(["worker", "api", "rabbitmq", "postgres"], 4)
    points = sorted(draw.uniform(0.03, 0.7) for _ in order)
    with receiver() as told:
        hook = {"url": told.url, "events": ["import.finished"]}
        assert site.backend.client().http.post("/v1/subscriptions", json=hook).is_success
        sender = threading.Thread(target=send_until_accepted, args=(site, feeds.as_csv(feed), rows, key))
        sender.start()
        for victim, point in zip(order, points, strict=True):
            is_due = partial(under_way, site, key, int(rows * point))
            before = wait_until(is_due, f"{point:.0%} are imported, and the import goes on", PATIENCE_SECONDS)
            site.kill(victim)
            after = progress(site, key)
            assert before[2] < rows, (victim, before)
            assert after[0] not in ("succeeded", "cancelled") and after[2] < rows, (victim, after)
        sender.join(PATIENCE_SECONDS)
        assert not sender.is_alive()
        wait_until(lambda: progress(site, key)[0] == "succeeded", "the import succeeds", PATIENCE_SECONDS)
        assert progress(site, key) == ("succeeded", rows, rows)
        is_told = partial(finished, told, site, key)
        wait_until(is_told, "its subscriber is told", PATIENCE_SECONDS)
    assert feeds.exported(site.backend.client().export()) == feeds.catalogue(feed)


def finished(told: object, site: Site, key: str) -> bool:
    """Whether the success was told: at least once, always under the same id."""
    with psycopg.connect(site.postgres.dsn) as conn:
        row = conn.execute("SELECT id::text FROM imports WHERE idempotency_key = %s", (key,)).fetchone()
    ids = {
        headers["webhook-id"]
        for headers, body in told.got  # type: ignore[attr-defined]
        if row and row[0] in body and '"succeeded"' in body
    }
    assert len(ids) <= 1
    return len(ids) == 1


@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_round_of_crashes_changes_nothing(site: Site, seed: int) -> None:
    crash_round(site, 100_000, seed)
    assert sorted(site.struck) == ["api", "postgres", "rabbitmq", "worker"]


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + LONG_ROUNDS))
def test_a_long_round_of_crashes_changes_nothing(site: Site, seed: int) -> None:
    """CRASH_SEED and CRASH_ROUNDS go on where an earlier run ended; build/crash-rounds.json keeps what was seen."""
    began, outcome = time.monotonic(), "failed"
    try:
        crash_round(site, LONG_ROWS, seed)
        assert sorted(site.struck) == ["api", "postgres", "rabbitmq", "worker"]
        outcome = "passed"
    finally:
        seconds = round(time.monotonic() - began)
        note({"seed": seed, "rows": LONG_ROWS, "outcome": outcome, "struck": site.struck[:], "seconds": seconds})


def note(result: dict[str, object]) -> None:
    """Add a result to the file."""
    RESULTS.parent.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results.append({"at": datetime.now(UTC).isoformat(timespec="seconds"), **result})
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
