"""SQL of the scheduled purge: old jobs and payloads, in batches, so that no statement runs for long."""

from typing import Any

from appstack_backend.database import Database

BATCH = 500
FEW = 5  # of what has parts that go with it, up to gigabytes
DELETE_IMPORTS = """
    DELETE FROM imports WHERE id IN (
        SELECT id FROM imports
        WHERE created_at < now() - make_interval(days => %(days)s) AND state IN ('succeeded', 'failed', 'cancelled')
        ORDER BY created_at LIMIT %(few)s FOR UPDATE SKIP LOCKED)
    RETURNING 1"""
DELETE_EXPORTS = """
    DELETE FROM exports WHERE id IN (
        SELECT id FROM exports
        WHERE created_at < now() - make_interval(days => %(days)s) AND state IN ('succeeded', 'failed')
        ORDER BY created_at LIMIT %(few)s FOR UPDATE SKIP LOCKED)
    RETURNING 1"""
EMPTY_PAYLOADS = """
    UPDATE import_chunks SET payload = NULL WHERE (import_id, number) IN (
        SELECT c.import_id, c.number FROM imports i JOIN import_chunks c ON c.import_id = i.id
        WHERE i.finished_at < now() - make_interval(hours => %(hours)s)
          AND c.payload IS NOT NULL AND c.state = 'done'
        LIMIT %(batch)s FOR UPDATE OF c SKIP LOCKED)
    RETURNING 1"""
DELETE_MARKS = """
    DELETE FROM processed_messages WHERE message_id IN (
        SELECT message_id FROM processed_messages
        WHERE processed_at < now() - make_interval(days => %(days)s)
        ORDER BY processed_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
    RETURNING 1"""
DELETE_TOMBSTONES = """
    WITH gone AS (
        SELECT sku, deleted_job FROM products
        WHERE deleted_job IS NOT NULL AND deleted_job > source_job
          AND updated_at < now() - make_interval(days => %(days)s)
        LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    ), stale AS (
        DELETE FROM stock s USING gone g WHERE s.sku = g.sku AND s.source_job < g.deleted_job
    )
    DELETE FROM products p USING gone g WHERE p.sku = g.sku
    RETURNING 1"""
DELETE_DELIVERIES = """
    DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries
        WHERE finished_at < now() - make_interval(days => %(days)s)
        ORDER BY finished_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
    RETURNING 1"""
DELETE_TARGETS = """
    DELETE FROM webhook_targets WHERE origin IN (
        SELECT origin FROM webhook_targets
        WHERE failed_at < now() - make_interval(days => %(days)s)
        LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
    RETURNING 1"""
PURGES = {
    "imports": DELETE_IMPORTS,
    "exports": DELETE_EXPORTS,
    "payloads": EMPTY_PAYLOADS,
    "marks": DELETE_MARKS,
    "deliveries": DELETE_DELIVERIES,
    "tombstones": DELETE_TOMBSTONES,
    "targets": DELETE_TARGETS,
}


async def purge(database: Database, what: str, days: int, hours: int) -> int:
    """Purge all that is old enough of one kind; returns how many rows."""
    values: dict[str, Any] = {"days": days, "hours": hours, "batch": BATCH, "few": FEW}
    total = 0
    while count := len(await database.fetch_all(PURGES[what], values)):
        total += count
    return total
