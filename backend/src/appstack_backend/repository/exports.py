"""SQL of exports: the job, and the pieces of its file."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from appstack_backend import tracing
from appstack_backend.database import Connection, Database

Job = dict[str, Any]

# Orders of one owner stand in line, else each would count without the others.
IN_LINE = "SELECT pg_advisory_xact_lock(hashtextextended('exports/' || %(owner)s, 0))"
# Itself is not counted: a commit whose answer was lost is repeated.
CREATE = """
    WITH job AS (
        INSERT INTO exports (id, state, format, filter, owner, request_id, traceparent)
        SELECT %(id)s, 'queued', %(format)s, %(filter)s, %(owner)s, %(request_id)s, %(traceparent)s
        WHERE %(most)s > (SELECT count(*) FROM exports
            WHERE owner = %(owner)s AND state IN ('queued', 'running') AND id <> %(id)s)
        ON CONFLICT DO NOTHING RETURNING *
    ), message AS (
        INSERT INTO outbox (queue, message_id, body)
        SELECT 'bulk', 'export.run/' || id, jsonb_build_object(
            'kind', 'export.run', 'export_id', id, 'request_id', request_id,
            'traceparent', traceparent)
        FROM job
    )
    SELECT * FROM job"""
BY_ID = "SELECT * FROM exports WHERE id = %(id)s"
PAGE = """
    SELECT * FROM exports
    WHERE (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s"""
START = """
    UPDATE exports SET state = 'running', started_at = coalesce(started_at, now())
    WHERE id = %(id)s AND state IN ('queued', 'running') RETURNING *"""
LOCK = "SELECT 1 FROM exports WHERE id = %(id)s AND state = 'running' FOR UPDATE"
ADD_PIECE = "INSERT INTO export_pieces (export_id, number, content) VALUES (%(id)s, %(number)s, %(content)s)"
PIECE = "SELECT content FROM export_pieces WHERE export_id = %(id)s AND number = %(number)s"
# The piece that has the byte at an offset, and where it begins. Lengths are known without unpacking the pieces.
PIECE_AT = """
    SELECT number, first FROM (
        SELECT number, sum(octet_length(content)) OVER (ORDER BY number) - octet_length(content) AS first
        FROM export_pieces WHERE export_id = %(id)s) p
    WHERE first <= %(offset)s ORDER BY number DESC LIMIT 1"""
EVENT_ID = "'export.finished/' || id || CASE state WHEN 'failed' THEN '/failed' ELSE '' END"
EVENT = f"""
    INSERT INTO outbox (queue, message_id, body)
    SELECT 'notifications', {EVENT_ID},
        jsonb_build_object('kind', 'event', 'event', 'export.finished', 'id', id, 'state', state,
            'request_id', request_id, 'traceparent', traceparent)"""
# Around every UPDATE that ends a job: its event leaves with the same commit.
WITH_EVENT = f"""
    WITH job AS ({{update}} RETURNING *) {EVENT}
    FROM job"""
FINISH = WITH_EVENT.format(
    update="""
        UPDATE exports SET state = 'succeeded', rows = %(rows)s, bytes = %(bytes)s, finished_at = now()
        WHERE id = %(id)s"""
)
FAIL = WITH_EVENT.format(
    update="""
        UPDATE exports SET state = 'failed', error_code = %(code)s, finished_at = now()
        WHERE id = %(id)s AND state IN ('queued', 'running')"""
)

REOPEN = """
    UPDATE exports SET state = 'queued', error_code = NULL, finished_at = NULL
    WHERE id = %(id)s AND state = 'failed'"""

ROWS = """
    SELECT p.sku, p.name, p.category, p.supplier, p.price::text AS price, p.currency,
        s.quantity, s.warehouse
    FROM products p LEFT JOIN stock s ON s.sku = p.sku
        AND (p.deleted_job IS NULL OR p.deleted_job < s.source_job)
    WHERE (p.deleted_job IS NULL OR p.deleted_job < p.source_job){conditions}
    ORDER BY p.sku, s.warehouse"""
FILTERS = {
    "category": "p.category = {category}",
    "supplier": "p.supplier = {supplier}",
    "q": "to_tsvector('simple', p.name) @@ plainto_tsquery('simple', {q})",
}
FORMATS = {
    "csv": "COPY ({rows}) TO STDOUT (FORMAT csv, HEADER)",
    # JSON never contains these two characters unescaped, so CSV with them is the bare JSON line.
    "ndjson": "COPY (SELECT to_json(r) FROM ({rows}) r) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')",
}


def copy_out(file_format: str, filters: dict[str, str]) -> sql.Composed:
    """The COPY that writes the file: the columns of an import, one line per product and warehouse."""
    given = {name: sql.Literal(value) for name, value in filters.items() if name in FILTERS}
    conditions = [sql.SQL(FILTERS[name]).format(**{name: value}) for name, value in given.items()]
    rows = sql.SQL(ROWS).format(conditions=sql.SQL("").join(sql.SQL(" AND ") + one for one in conditions))
    return sql.SQL(FORMATS[file_format]).format(rows=rows)


async def create(
    database: Database, job_id: UUID, file_format: str, filters: dict[str, str], owner: str, request_id: str, most: int
) -> Job | None:
    """The job; None if its owner has `most` unfinished ones already."""
    values = {"id": job_id, "format": file_format, "filter": Jsonb(filters), "owner": owner, "request_id": request_id}
    values |= {"traceparent": tracing.current(), "most": most}

    async def work(conn: Connection) -> Job | None:
        async with conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(IN_LINE, values)
            await cursor.execute(CREATE, values)
            return await cursor.fetchone()

    return await database.run(work) or await by_id(database, job_id)


async def by_id(database: Database, job_id: UUID) -> Job | None:
    return await database.fetch_one(BY_ID, {"id": job_id})


async def page(database: Database, before: datetime, before_id: UUID, limit: int) -> list[Job]:
    """Jobs, newest first, older than the given one."""
    return await database.fetch_all(PAGE, {"before": before, "before_id": before_id, "limit": limit})


async def start(database: Database, job_id: UUID) -> Job | None:
    """The job, now running; None if it is done."""
    return await database.fetch_one(START, {"id": job_id})


async def lock(conn: Connection, job_id: UUID) -> bool:
    """Whether the job still waits for its file; others wait until the caller's transaction ends."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(LOCK, {"id": job_id})
        return await cursor.fetchone() is not None


async def add_piece(conn: Connection, job_id: UUID, number: int, content: bytes) -> None:
    await conn.execute(ADD_PIECE, {"id": job_id, "number": number, "content": content})


async def finish(conn: Connection, job_id: UUID, rows: int, size: int) -> None:
    await conn.execute(FINISH, {"id": job_id, "rows": rows, "bytes": size})


async def fail(database: Database, job_id: UUID, code: str) -> None:
    await database.execute(FAIL, {"id": job_id, "code": code})


async def reopen(database: Database, job_id: UUID) -> None:
    """A failed export is to be written after all."""
    await database.execute(REOPEN, {"id": job_id})


async def piece_at(database: Database, job_id: UUID, offset: int) -> tuple[int, int]:
    """The number of the piece with the byte at that offset, and the offset of its first byte."""
    row = await database.fetch_one(PIECE_AT, {"id": job_id, "offset": offset})
    return (row["number"], int(row["first"])) if row else (0, 0)


async def piece(database: Database, job_id: UUID, number: int) -> bytes | None:
    """One piece of the file; None behind the last."""
    rows = await database.fetch_all(PIECE, {"id": job_id, "number": number}, binary=True)
    return rows[0]["content"] if rows else None
