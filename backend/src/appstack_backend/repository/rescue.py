"""SQL of the rescue: messages of work that has stood still are made again, as when a broker lost what it had confirmed.

Only while the broker has none of them waiting; a message too many is harmless, since the work knows what was done.
"""

from appstack_backend.database import Database
from appstack_backend.repository import exports, imports, messages

BATCH = 10_000  # what is left waits until work has stood still again
STILL = "now() - make_interval(mins => %(minutes)s)"
CHUNKS = f"""
    INSERT INTO outbox (queue, message_id, body)
    SELECT 'bulk', 'import.chunk/' || i.id || '/' || c.number, jsonb_build_object(
        'kind', 'import.chunk', 'import_id', i.id, 'chunk', c.number, 'request_id', i.request_id,
        'traceparent', i.traceparent)
    FROM imports i JOIN import_chunks c ON c.import_id = i.id AND c.state = 'pending'
    WHERE i.state IN ('queued', 'running') AND i.created_at < {STILL}
      AND NOT EXISTS (SELECT FROM import_chunks d WHERE d.import_id = i.id AND d.done_at > {STILL})
    LIMIT %(batch)s
    RETURNING id"""  # noqa: S608  # of constants
# Whoever writes an export has its row locked until the end, so that one does not stand still, however long it takes.
EXPORTS = f"""
    WITH still AS (
        SELECT id, request_id, traceparent FROM exports
        WHERE state IN ('queued', 'running') AND created_at < {STILL}
        LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    )
    INSERT INTO outbox (queue, message_id, body)
    SELECT 'bulk', 'export.run/' || id, jsonb_build_object(
        'kind', 'export.run', 'export_id', id, 'request_id', request_id, 'traceparent', traceparent)
    FROM still
    RETURNING id"""  # noqa: S608
# A delivery without a time is on its way; one that is due is sent to the queue by whoever promotes.
DELIVERIES = f"""
    UPDATE deliveries SET next_attempt_at = now()
    WHERE state = 'pending' AND next_attempt_at IS NULL AND created_at < {STILL}
    RETURNING id"""  # noqa: S608
# Events of jobs that nobody has worked on: whoever does leaves a mark, and so does who buries one (messages.BURIED);
# marks are kept for a day at least.
UNTOLD = f"""
        AND created_at > now() - interval '2 days' AND created_at < {STILL}
        AND finished_at > now() - interval '1 day' AND finished_at < {STILL}
        AND NOT EXISTS (
            SELECT FROM processed_messages m
            WHERE m.message_id IN ({{message_id}}, {{message_id}} || '{messages.BURIED}'))
    LIMIT %(batch)s
    RETURNING id"""
IMPORT_EVENTS = f"""{imports.EVENT}
    FROM imports WHERE state IN ('succeeded', 'failed', 'cancelled')
    {UNTOLD.format(message_id=imports.EVENT_ID)}"""
EXPORT_EVENTS = f"""{exports.EVENT}
    FROM exports WHERE state IN ('succeeded', 'failed')
    {UNTOLD.format(message_id=exports.EVENT_ID)}"""
RESCUES = {
    "bulk": (CHUNKS, EXPORTS),
    "notifications": (DELIVERIES, IMPORT_EVENTS, EXPORT_EVENTS),
}  # by the queue that must be empty


async def rescue(database: Database, queue: str, minutes: int) -> int:
    """Make the messages of one queue again; returns how many."""
    values = {"minutes": minutes, "batch": BATCH}
    return sum([len(await database.fetch_all(statement, values)) for statement in RESCUES[queue]])
