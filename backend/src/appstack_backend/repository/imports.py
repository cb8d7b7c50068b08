"""SQL of imports: the job, its chunks, its rejected rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from appstack_backend import tracing
from appstack_backend.database import Connection, Database

Job = dict[str, Any]

CREATE = """
    INSERT INTO imports (id, state, format, owner, idempotency_key, request_id, traceparent, receiver_until)
    VALUES (%(id)s, 'receiving', %(format)s, %(owner)s, %(key)s, %(request_id)s, %(traceparent)s,
        now() + %(lease)s)
    ON CONFLICT DO NOTHING
    RETURNING *"""
BY_ID = "SELECT * FROM imports WHERE id = %(id)s"
BY_KEY = """
    SELECT *, receiver_until > now() AS has_receiver FROM imports
    WHERE owner = %(owner)s AND idempotency_key = %(key)s"""
PAGE = """
    SELECT * FROM imports
    WHERE (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s"""
ERRORS_PAGE = """
    SELECT line, code, message FROM import_errors
    WHERE import_id = %(id)s AND line > %(after)s ORDER BY line LIMIT %(limit)s"""

# One statement, so one round trip and one commit: counters, chunk, rejected rows and message.
# It is its own guard: `chunks_total = number` lets a repeated call change nothing, `receiver`
# keeps out a receiver that was given up, `state` one whose job was cancelled.
STORE_CHUNK = """
    WITH job AS (
        UPDATE imports SET
            chunks_total = chunks_total + 1,
            rows_received = rows_received + %(rows)s + %(rejected)s,
            rows_rejected = rows_rejected + %(rejected)s,
            receiver_until = now() + %(lease)s
        WHERE id = %(id)s AND receiver = %(receiver)s AND state = 'receiving' AND chunks_total = %(number)s
        RETURNING id
    ), errors AS (
        INSERT INTO import_errors (import_id, line, code, message)
        SELECT job.id, e.line, e.code, e.message
        FROM job, unnest(%(lines)s::bigint[], %(codes)s::text[], %(messages)s::text[]) AS e (line, code, message)
    ), message AS (
        INSERT INTO outbox (queue, message_id, body)
        SELECT 'bulk', %(message_id)s, %(message)s FROM job
    )
    INSERT INTO import_chunks (import_id, number, first_line, rows, rejected, is_partial, payload, payload_sha256)
    SELECT id, %(number)s, %(first_line)s, %(rows)s, %(rejected)s, %(is_partial)s, %(payload)s, %(digest)s
    FROM job
    RETURNING number"""
RENEW = """
    UPDATE imports SET receiver_until = now() + %(lease)s
    WHERE id = %(id)s AND receiver = %(receiver)s AND state = 'receiving'
    RETURNING id"""
RELEASE = """
    UPDATE imports SET receiver_until = now()
    WHERE id = %(id)s AND receiver = %(receiver)s AND state = 'receiving'"""
EVENT_ID = "'import.finished/' || id || '/' || receiver"
EVENT = f"""
        INSERT INTO outbox (queue, message_id, body)
        SELECT 'notifications', {EVENT_ID}, jsonb_build_object(
            'kind', 'event', 'event', 'import.finished', 'id', id, 'state', state, 'request_id', request_id,
            'traceparent', traceparent)"""
# Around every UPDATE that may end a job: its event leaves with the same commit.
WITH_EVENT = f"""
    WITH job AS ({{update}} RETURNING *), event AS ({EVENT}
        FROM job WHERE state IN ('succeeded', 'failed', 'cancelled') AND finished_at = now()
    )
    SELECT * FROM job"""  # noqa: S608  # of constants
# The upload is over. The job ends at once if the workers have kept up.
FINISH_UPLOAD = WITH_EVENT.format(
    update="""
    UPDATE imports SET
        outcome = CASE WHEN error_code IS NULL THEN %(outcome)s ELSE 'failed' END,
        error_code = coalesce(error_code, %(code)s), error_message = coalesce(error_message, %(message)s),
        body_sha256 = %(sha256)s,
        state = CASE WHEN chunks_done < chunks_total THEN CASE WHEN chunks_done > 0 THEN 'running' ELSE 'queued' END
                     WHEN error_code IS NULL THEN %(outcome)s ELSE 'failed' END,
        finished_at = CASE WHEN chunks_done = chunks_total THEN now() END
    WHERE id = %(id)s AND receiver = %(receiver)s AND state = 'receiving'"""
)
CANCEL = WITH_EVENT.format(
    update="""
    UPDATE imports SET state = 'cancelled', finished_at = now()
    WHERE id = %(id)s AND state IN ('receiving', 'queued', 'running')"""
)

# An upload that was given up may go on: with the same Idempotency-Key and the same beginning. What a worker could not
# apply of it stays lost until it is sent back from the dead letters.
TAKE_OVER = """
    UPDATE imports SET
        receiver = receiver + 1, receiver_until = now() + %(lease)s, state = 'receiving', outcome = NULL,
        error_code = CASE WHEN EXISTS (
            SELECT FROM import_chunks WHERE import_id = %(id)s AND state = 'dead' AND NOT is_partial
        ) THEN 'IMPORT_CHUNK_FAILED' END,
        error_message = NULL, finished_at = NULL
    WHERE id = %(id)s AND receiver = %(receiver)s AND body_sha256 IS NULL
      AND state <> 'cancelled' AND (state <> 'receiving' OR receiver_until <= now())
    RETURNING *"""
DROP_PARTIAL_CHUNK = """
    WITH chunk AS (
        DELETE FROM import_chunks WHERE import_id = %(id)s AND is_partial
        RETURNING first_line, rows, rejected, state
    ), errors AS (
        DELETE FROM import_errors USING chunk WHERE import_id = %(id)s AND line >= chunk.first_line
    )
    UPDATE imports SET
        chunks_total = chunks_total - 1,
        chunks_done = chunks_done - (chunk.state <> 'pending')::int,
        rows_received = rows_received - chunk.rows - chunk.rejected,
        rows_rejected = rows_rejected - chunk.rejected,
        rows_imported = rows_imported - CASE WHEN chunk.state = 'done' THEN chunk.rows ELSE 0 END
    FROM chunk WHERE id = %(id)s"""
DIGESTS = "SELECT payload_sha256 FROM import_chunks WHERE import_id = %(id)s ORDER BY number"
# Every instance runs this now and then: uploads whose receiver died end as truncated.
END_ABANDONED = WITH_EVENT.format(
    update="""
    UPDATE imports SET
        outcome = 'failed', error_code = 'IMPORT_TRUNCATED', error_message = %(message)s,
        state = CASE WHEN chunks_done = chunks_total THEN 'failed' ELSE 'running' END,
        finished_at = CASE WHEN chunks_done = chunks_total THEN now() END
    WHERE state = 'receiving' AND receiver_until < now()"""
)

# A worker's side.
LOCK_CHUNK = """
    SELECT c.payload, c.rows, c.state, i.position, i.state AS import_state, i.request_id
    FROM import_chunks c JOIN imports i ON i.id = c.import_id
    WHERE c.import_id = %(id)s AND c.number = %(number)s
    FOR UPDATE OF c"""
MARK_CHUNK = """
    UPDATE import_chunks SET state = %(state)s, redelivered = redelivered + %(redelivered)s, done_at = now()
    WHERE import_id = %(id)s AND number = %(number)s"""
COUNT_CHUNK = WITH_EVENT.format(
    update="""
    UPDATE imports SET
        chunks_done = chunks_done + 1,
        chunks_redelivered = chunks_redelivered + %(redelivered)s,
        rows_imported = rows_imported + %(imported)s,
        started_at = coalesce(started_at, now()),
        outcome = CASE WHEN %(is_dead)s AND outcome IS NOT NULL THEN 'failed' ELSE outcome END,
        error_code = CASE WHEN %(is_dead)s THEN 'IMPORT_CHUNK_FAILED' ELSE error_code END,
        state = CASE
            WHEN state NOT IN ('queued', 'running') THEN state
            WHEN chunks_done + 1 < chunks_total THEN 'running'
            WHEN %(is_dead)s OR error_code = 'IMPORT_CHUNK_FAILED' THEN 'failed'
            ELSE outcome END,
        finished_at = CASE
            WHEN state IN ('queued', 'running') AND chunks_done + 1 = chunks_total THEN now() ELSE finished_at END
    WHERE id = %(id)s"""
)
# A chunk that was dead is applied after all; with the last of them the import has succeeded, or will if the others do.
REVIVE = """
    WITH job AS (
        UPDATE imports SET
            rows_imported = rows_imported + %(imported)s,
            (state, outcome, error_code) = (
                SELECT CASE WHEN healed AND imports.state = 'failed' THEN 'succeeded' ELSE imports.state END,
                    CASE WHEN healed AND imports.outcome = 'failed' THEN 'succeeded' ELSE imports.outcome END,
                    CASE WHEN healed THEN NULL ELSE imports.error_code END
                FROM (SELECT imports.state <> 'cancelled' AND imports.error_code = 'IMPORT_CHUNK_FAILED'
                    AND imports.error_message IS NULL AND NOT EXISTS (
                        SELECT FROM import_chunks c
                        WHERE c.import_id = imports.id AND c.state = 'dead' AND c.number <> %(number)s)) h (healed))
        WHERE id = %(id)s RETURNING *
    )
    INSERT INTO outbox (queue, message_id, body)
    SELECT 'notifications', 'import.finished/' || id || '/' || receiver || '/healed', jsonb_build_object(
        'kind', 'event', 'event', 'import.finished', 'id', id, 'state', state, 'request_id', request_id,
            'traceparent', traceparent)
    FROM job WHERE state = 'succeeded'"""
COUNT_REDELIVERY = """
    WITH chunk AS (
        UPDATE import_chunks SET redelivered = redelivered + 1 WHERE import_id = %(id)s AND number = %(number)s)
    UPDATE imports SET chunks_redelivered = chunks_redelivered + 1 WHERE id = %(id)s"""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is receiving a job's body: stale ones are kept out by their number."""

    id: UUID
    number: int
    lease: timedelta


async def create(
    database: Database, job_id: UUID, file_format: str, owner: str, key: str | None, request_id: str, lease: timedelta
) -> Job | None:
    """A new job in state receiving; None if the owner used this key before."""
    values = {"id": job_id, "format": file_format, "owner": owner, "key": key, "request_id": request_id, "lease": lease}
    job = await database.fetch_one(CREATE, {**values, "traceparent": tracing.current()})
    return job or await by_id(database, job_id)  # ours all the same, where the first answer was lost


async def by_id(database: Database, job_id: UUID) -> Job | None:
    return await database.fetch_one(BY_ID, {"id": job_id})


async def by_key(database: Database, owner: str, key: str) -> Job | None:
    return await database.fetch_one(BY_KEY, {"owner": owner, "key": key})


async def cancel(database: Database, job_id: UUID) -> Job | None:
    """The job, now cancelled; None if it is finished or unknown."""
    return await database.fetch_one(CANCEL, {"id": job_id})


async def finish_upload(database: Database, values: dict[str, Any]) -> Job | None:
    """The job after its upload ended; None if it was cancelled or taken over meanwhile."""
    return await database.fetch_one(FINISH_UPLOAD, values)


async def end_abandoned(database: Database, message: str) -> list[Job]:
    """End the uploads whose receiver died; returns their jobs."""
    return await database.fetch_all(END_ABANDONED, {"message": message})


async def page(database: Database, before: datetime, before_id: UUID, limit: int) -> list[Job]:
    """Jobs, newest first, older than the given one."""
    return await database.fetch_all(PAGE, {"before": before, "before_id": before_id, "limit": limit})


async def page_of_errors(database: Database, job_id: UUID, after: int, limit: int) -> list[dict[str, Any]]:
    return await database.fetch_all(ERRORS_PAGE, {"id": job_id, "after": after, "limit": limit})


async def store_chunk(database: Database, values: dict[str, Any]) -> bool:
    """Whether the chunk was stored now; False if the guards of STORE_CHUNK said no."""
    values = {**values, "message": Jsonb(values["message"])}
    return await database.fetch_one(STORE_CHUNK, values) is not None


async def digests(database: Database, job_id: UUID) -> list[bytes]:
    """The digests of the chunks stored so far, in order."""
    return [row["payload_sha256"] for row in await database.fetch_all(DIGESTS, {"id": job_id})]


async def renew(database: Database, receiver: Receiver) -> bool:
    """Whether the receiver still has its job."""
    values = {"id": receiver.id, "receiver": receiver.number, "lease": receiver.lease}
    return await database.fetch_one(RENEW, values) is not None


async def release(database: Database, receiver: Receiver) -> None:
    """Let the upload be taken over from now on, if the receiver still has it. Tried once."""

    async def work(conn: Connection) -> None:
        await conn.execute(RELEASE, {"id": receiver.id, "receiver": receiver.number})

    await database.run(work, patience_seconds=0)


async def take_over(database: Database, job: Job, lease: timedelta) -> Job | None:
    """Become the receiver of an upload that was given up; None if somebody else was quicker."""

    async def work(conn: Connection) -> Job | None:
        async with conn.cursor(row_factory=dict_row) as cursor:
            values = {"id": job["id"], "receiver": job["receiver"], "lease": lease}
            await cursor.execute(TAKE_OVER, values)
            taken = await cursor.fetchone()
            if taken:
                await cursor.execute(DROP_PARTIAL_CHUNK, values)
            return taken

    return await database.run(work)
