"""Two versions at once: the code of an earlier release on the schema of today, and the code of today on an earlier one.

`releases/schema-5.zip` holds the sources as they were when migration 0005 was the last one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from appstack_backend import schema
from tests.backend.conftest import settings
from tests.backend.kit import feeds
from tests.backend.kit.processes import Backend, wait_until

if TYPE_CHECKING:
    import pytest

OLD = Path(__file__).parent / "releases" / "schema-5.zip"
OLD_VERSION = 5
THING = {"name": "Thing", "category": "c", "supplier": "s", "price": "1.50", "currency": "EUR", "stock": {"main": 3}}


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
