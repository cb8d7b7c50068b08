"""Writing an export: COPY out of one consistent snapshot into pieces that commit together or not at all."""

import asyncio
import time
from uuid import UUID

import psycopg

from appstack_backend.database import Connection, Database
from appstack_backend.errors import DatabaseUnavailable
from appstack_backend.logs import get_logger
from appstack_backend.metrics import EXPORTS_READ
from appstack_backend.reads import Reads, is_fresh
from appstack_backend.repository import exports as repository

log = get_logger()
PIECE_BYTES = 256 << 10
FRESH_POLL_SECONDS = 0.1


async def write_export(reads: Reads, export_id: UUID, wait_seconds: float) -> None:
    """Write the file of an export unless that was done before. A crash half-way leaves no piece behind."""
    job = await repository.start(reads.primary, export_id)
    if job is None:
        log.info("the export was written before")
        return
    server, rows = "replica", await copy_from_replica(reads, job, wait_seconds)
    if rows is None:
        server, rows = "primary", await copy_from_primary(reads.primary, job)
    EXPORTS_READ.labels(server).inc()
    log.info("export written", rows=rows, server=server)


async def copy_from_replica(reads: Reads, job: repository.Job, wait_seconds: float) -> int | None:
    """The number of rows, from a replica that has all that is committed now; None if there is none in time."""
    if reads.replica is None or reads.replica_is_left_alone:
        return None
    needed, give_up_at = await reads.lsn(), time.monotonic() + wait_seconds
    try:
        async with reads.replica.transaction() as source:
            while not await is_fresh(source, needed):
                if time.monotonic() > give_up_at:
                    return None
                await asyncio.sleep(FRESH_POLL_SECONDS)
            async with reads.primary.transaction() as target:
                return await copy_locked(source, target, job)
    except (psycopg.OperationalError, DatabaseUnavailable) as error:  # also: cancelled by a conflict with recovery
        await reads.leave_replica_alone(error)
        return None


async def copy_from_primary(database: Database, job: repository.Job) -> int:
    """The number of rows."""

    async def work(target: Connection) -> int:
        async with database.transaction() as source:
            return await copy_locked(source, target, job)

    return await database.run(work)


async def copy_locked(source: Connection, target: Connection, job: repository.Job) -> int:
    """Copy unless somebody else has done it; whoever comes second waits here."""
    return await copy_pieces(source, target, job) if await repository.lock(target, job["id"]) else 0


async def copy_pieces(source: Connection, target: Connection, job: repository.Job) -> int:
    """Stream from one connection to the other; returns the number of rows."""
    number = size = rows = 0
    piece = bytearray()
    async with source.cursor() as cursor:
        async with cursor.copy(repository.copy_out(job["format"], job["filter"])) as copy:
            async for data in copy:
                piece += data
                if len(piece) >= PIECE_BYTES:
                    await repository.add_piece(target, job["id"], number, bytes(piece))
                    number, size = number + 1, size + len(piece)
                    piece.clear()
        rows = cursor.rowcount
    if piece or not number:
        await repository.add_piece(target, job["id"], number, bytes(piece))
        size += len(piece)
    await repository.finish(target, job["id"], rows, size)
    return rows


async def fail_export(database: Database, export_id: UUID) -> None:
    """The export cannot be written."""
    await repository.fail(database, export_id)
