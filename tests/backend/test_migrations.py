"""Migrations: twice at once, beside readers that hold locks, and with indexes built concurrently."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from appstack_backend import schema
from appstack_backend.schema import Migration
from tests.backend.conftest import settings
from tests.backend.kit.processes import PATIENCE_SECONDS, Backend, wait_until
from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    from pathlib import Path

TABLE = Migration(1, "0001_table", "CREATE TABLE things (id int); INSERT INTO things SELECT generate_series(1, 1000);")
INDEX = Migration(
    2,
    "0002_index",
    "-- without transaction\n"
    "DROP INDEX CONCURRENTLY IF EXISTS by_id;\n"
    "CREATE INDEX CONCURRENTLY by_id ON things (id);\n",
)
COLUMN = Migration(3, "0003_column", "ALTER TABLE things ADD COLUMN name text;")
WAITS = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'things'::regclass"


@pytest.fixture
def unmigrated(empty_dsn: str, redis: dict[str, str], rabbitmq: str, tmp_path: Path) -> Backend:
    return Backend(settings(empty_dsn, redis, rabbitmq), tmp_path)


def versions(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        return [row[0] for row in conn.execute("SELECT version FROM schema_versions ORDER BY version")]


def test_two_migrators_at_once_apply_each_version_once(unmigrated: Backend) -> None:
    both = [unmigrated.start("migrate") for _ in range(2)]
    assert [process.popen.wait(PATIENCE_SECONDS) for process in both] == [0, 0]
    applied = [line["applied"] for process in both for line in process.lines() if "applied" in line]
    assert sorted(map(len, applied)) == [0, len(schema.load_migrations())]
    assert versions(unmigrated.environment["DATABASE_URL"]) == [m.version for m in schema.load_migrations()]


def test_migrators_at_once_build_an_index_concurrently(empty_dsn: str) -> None:
    """A second migrator that waited in a statement would block CREATE INDEX CONCURRENTLY for ever."""
    done: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: done.append(schema.migrate(empty_dsn, [TABLE, INDEX, COLUMN])))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(map(len, done)) == [0, 0, 3]
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_id'::regclass").fetchone() == (
            True,
        )


def test_a_failed_migration_leaves_nothing_of_itself(empty_dsn: str) -> None:
    broken = Migration(2, "0002_broken", "CREATE TABLE others (id int); SELECT 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        schema.migrate(empty_dsn, [TABLE, broken])
    assert versions(empty_dsn) == [1]
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("SELECT to_regclass('others')").fetchone() == (None,)
    assert schema.migrate(empty_dsn, [TABLE, COLUMN]) == ["0003_column"]


def test_a_migration_waits_briefly_for_locks_and_tries_again(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "300ms")
    schema.migrate(empty_dsn, [TABLE])
    migrator = threading.Thread(target=schema.migrate, args=(empty_dsn, [TABLE, COLUMN]))
    with psycopg.connect(empty_dsn) as reader, psycopg.connect(empty_dsn, autocommit=True) as other:
        reader.execute("SELECT count(*) FROM things")  # and stays in its transaction
        migrator.start()
        wait_until(lambda: other.execute(WAITS).fetchone(), "the migration waits for the reader")
        other.execute("SET statement_timeout = '30s'; SELECT count(*) FROM things")  # queues behind it, and passes
        assert versions(empty_dsn) == [1], "before the reader has ended"
    migrator.join(PATIENCE_SECONDS)
    assert versions(empty_dsn) == [1, 3]


def test_an_api_is_unready_until_the_schema_is_there_and_alive_all_the_time(unmigrated: Backend) -> None:
    port = free_port()
    process = unmigrated.start("api", API_HOST="127.0.0.1", API_PORT=str(port))
    try:
        wait_until(lambda: is_alive(port), "the API lives")
        wait_until(lambda: "1, 2" in ask(port, "readyz").json().get("detail", ""), "it tells")
        answer = ask(port, "readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "SCHEMA_NOT_READY")
        unmigrated.run("migrate")
        wait_until(lambda: ask(port, "readyz").status_code == 200, "it is ready")
    finally:
        process.kill()


def ask(port: int, what: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}/{what}", timeout=PATIENCE_SECONDS)


def is_alive(port: int) -> bool:
    try:
        return ask(port, "livez").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_what_tokens_left_that_were_revoked_before_is_ended(empty_dsn: str) -> None:
    """Revoking a token ends its subscriptions since schema 11 only."""
    migrations = schema.load_migrations()
    schema.migrate(empty_dsn, migrations[:10])
    with psycopg.connect(empty_dsn) as conn:
        revoked, kept = (
            conn.execute(
                "INSERT INTO tokens (id, name, hash, scopes, revoked_at)"
                " VALUES (gen_random_uuid(), 'n', %(hash)s, '{write}', %(at)s) RETURNING 'token:' || id",
                {"hash": name, "at": at},
            ).fetchone()
            for name, at in ((b"revoked", "2026-01-01Z"), (b"kept", None))
        )
        assert revoked and kept
        for owner in (*revoked, *kept, "admin"):
            conn.execute("INSERT INTO subscriptions VALUES (gen_random_uuid(), %s, 'u', '{}', 's')", (owner,))
    schema.migrate(empty_dsn, migrations)
    with psycopg.connect(empty_dsn) as conn:
        states: dict[str, str] = dict(conn.execute("SELECT owner, state FROM subscriptions").fetchall())
    assert states == {revoked[0]: "disabled", kept[0]: "active", "admin": "active"}
