"""The purge: each part of it removes what is old enough, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from appstack_backend.database import Database
from appstack_backend.repository import housekeeping

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAYS, HOURS = 30, 24
IMPORT = """
    INSERT INTO imports (id, state, format, owner, idempotency_key, request_id, receiver_until, created_at, finished_at)
    SELECT gen_random_uuid(), state, 'csv', 'o', key, 'r', now(), now() - age::interval, now() - ended::interval
    FROM (VALUES {rows}) v (key, state, age, ended)"""
# What is there before, what shows it, and what of it stays. Names say what each row is.
CASES = {
    "imports": (
        IMPORT.format(
            rows="""('old', 'succeeded', '31 days', '31 days'), ('old and failed', 'failed', '31 days', '31 days'),
                ('old and cancelled', 'cancelled', '31 days', '31 days'),
                ('old and running', 'running', '31 days', NULL), ('young', 'succeeded', '29 days', '29 days')"""
        ),
        "SELECT idempotency_key FROM imports",
        {"old and running", "young"},
    ),
    "exports": (
        """
        INSERT INTO exports (id, state, format, filter, owner, request_id, created_at)
        SELECT gen_random_uuid(), state, 'csv', '{}', 'o', name, now() - age::interval
        FROM (VALUES ('old', 'succeeded', '31 days'), ('old and failed', 'failed', '31 days'),
            ('old and queued', 'queued', '31 days'), ('young', 'succeeded', '29 days')) v (name, state, age)""",
        "SELECT request_id FROM exports",
        {"old and queued", "young"},
    ),
    "payloads": (
        IMPORT.format(
            rows="('old', 'succeeded', '9 days', '25 hours'), ('young', 'succeeded', '9 days', '23 hours'),"
            " ('running', 'running', '9 days', NULL)"
        )
        + """;
        INSERT INTO import_chunks
            (import_id, number, first_line, rows, rejected, is_partial, state, payload, payload_sha256)
        SELECT id, number, 2, 1, 0, false, chunk, 'x', ''
        FROM imports, (VALUES (0, 'done'), (1, 'dead'), (2, 'pending')) v (number, chunk)""",
        """
        SELECT i.idempotency_key || ' ' || c.state FROM imports i JOIN import_chunks c ON c.import_id = i.id
        WHERE c.payload IS NOT NULL""",
        {"old dead", "old pending"}
        | {f"{job} {state}" for job in ("young", "running") for state in ("done", "dead", "pending")},
    ),
    "marks": (
        """
        INSERT INTO processed_messages (message_id, processed_at)
        SELECT name, now() - age::interval FROM (VALUES ('old', '31 days'), ('young', '29 days')) v (name, age)""",
        "SELECT message_id FROM processed_messages",
        {"young"},
    ),
    "deliveries": (
        """
        INSERT INTO subscriptions (id, owner, url, events, secret) VALUES (gen_random_uuid(), 'o', 'u', '{}', 's');
        INSERT INTO deliveries
            (id, subscription_id, event_id, event, payload, request_id, state, created_at, finished_at)
        SELECT gen_random_uuid(), id, name, 'e', '{}', 'r', v.state, now() - age::interval, now() - ended::interval
        FROM subscriptions, (VALUES ('old', 'delivered', '31 days', '31 days'), ('old and dead', 'dead', '40 days',
            '31 days'), ('old and pending', 'pending', '31 days', NULL),
            ('young', 'delivered', '40 days', '29 days')) v (name, state, age, ended)""",
        "SELECT event_id FROM deliveries",
        {"old and pending", "young"},
    ),
    "targets": (
        """
        INSERT INTO webhook_targets (origin, failures, failed_at)
        SELECT name, 1, now() - age::interval FROM (VALUES ('old', '31 days'), ('young', '29 days')) v (name, age)""",
        "SELECT origin FROM webhook_targets",
        {"young"},
    ),
    "tombstones": (
        """
        INSERT INTO products (sku, name, category, supplier, price, currency, source_job, source_line, deleted_job,
            updated_at)
        SELECT name, 'n', 'c', 's', 1, 'EUR', 5, 1, deleted, now() - age::interval
        FROM (VALUES ('old', 7, '31 days'), ('young', 7, '29 days'), ('brought back', 3, '31 days'),
            ('never deleted', NULL, '31 days')) v (name, deleted, age);
        INSERT INTO stock SELECT sku, warehouse, 1, job, 1
        FROM products, (VALUES ('before', 6), ('after', 8)) v (warehouse, job)""",
        """
        SELECT sku FROM products UNION ALL SELECT sku || ' ' || warehouse FROM stock""",
        {
            *("young", "brought back", "never deleted", "old after"),
            *(f"{sku} {when}" for sku in ("young", "brought back", "never deleted") for when in ("before", "after")),
        },
    ),
}


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, "test", size=3, patience_seconds=10)
    await database.open()
    yield database
    await database.close()


def test_every_purge_has_its_case() -> None:
    assert CASES.keys() == housekeeping.PURGES.keys()


@pytest.mark.parametrize("what", CASES)
async def test_what_is_old_enough_goes_and_nothing_else(database: Database, dsn: str, what: str) -> None:
    fill, show, stays = CASES[what]
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(fill.encode())
        before = {row[0] for row in conn.execute(show.encode())}
        assert before > stays
        assert await housekeeping.purge(database, what, DAYS, HOURS) == len(before - stays) - (what == "tombstones")
        assert {row[0] for row in conn.execute(show.encode())} == stays
        assert await housekeeping.purge(database, what, DAYS, HOURS) == 0


async def test_a_purge_takes_as_many_batches_as_there_are(database: Database, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO processed_messages SELECT n::text, now() - '1 year'::interval FROM generate_series(1, 1201) n"
        )
        assert await housekeeping.purge(database, "marks", DAYS, HOURS) == 1_201
        assert conn.execute("SELECT count(*) FROM processed_messages").fetchone() == (0,)


async def test_no_statement_of_a_purge_removes_many_files(database: Database, dsn: str) -> None:
    """The pieces of a file go with its export: hundreds of files in one statement would take hours, or start anew."""
    fill, _, _ = CASES["exports"]
    with psycopg.connect(dsn, autocommit=True) as conn:
        for _ in range(20):
            conn.execute(fill.encode())
        conn.execute("CREATE TABLE gone (at bigint)")
        conn.execute(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO gone SELECT count(*) FROM removed; RETURN NULL; END $$"
        )
        conn.execute(
            "CREATE TRIGGER note AFTER DELETE ON exports REFERENCING OLD TABLE AS removed EXECUTE FUNCTION note()"
        )
        assert await housekeeping.purge(database, "exports", DAYS, HOURS) == 40
        most = conn.execute("SELECT max(at), sum(at) FROM gone").fetchone()
        assert most == (housekeeping.FEW, 40)
