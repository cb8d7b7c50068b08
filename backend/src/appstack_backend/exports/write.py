"""Writing an export: COPY out of one consistent snapshot into pieces that commit together or not at all."""

from contextlib import aclosing
from uuid import UUID

import psycopg

from appstack_backend.database import Connection, Database
from appstack_backend.errors import DatabaseUnavailable
from appstack_backend.exports.copy_out import CopyOut, Stale
from appstack_backend.logs import get_logger
from appstack_backend.metrics import EXPORTS_READ
from appstack_backend.reads import Reads
from appstack_backend.repository import exports as repository

log = get_logger()
PIECE_BYTES = 256 << 10
# A replica that sends nothing for so long is given up: it stands still, or the primary may find the rows sooner.
REPLICA_SILENT_SECONDS = 30.0
FULL = (psycopg.errors.DiskFull, psycopg.errors.ConfigurationLimitExceeded)


class NoRoom(Exception):
    """The disk, or what PostgreSQL may use of it, is used up: each further attempt would do that to all others."""


async def write_export(reads: Reads, export_id: UUID, wait_seconds: float) -> None:
    """Write the file of an export unless that was done before. A crash half-way leaves no piece. Raises NoRoom."""
    job = await repository.start(reads.primary, export_id)
    if job is None:
        log.info("the export was written before")
        return
    server, rows = "replica", await copy_from_replica(reads, job, wait_seconds)
    if rows is None:
        server, rows = "primary", await copy_from_primary(reads.primary, job)
    EXPORTS_READ.labels(server).inc()
    log.info("export written", rows=rows, server=server)


def source(database: Database, job: repository.Job) -> CopyOut:
    """What is to be copied, from that server."""
    statement = repository.copy_out(job["format"], job["filter"])
    return CopyOut(database.dsn, statement, PIECE_BYTES, connections=database.beside)


async def copy_from_replica(reads: Reads, job: repository.Job, wait_seconds: float) -> int | None:
    """The number of rows, from a replica that has all that is committed now; None if there is none in time."""
    if reads.replica is None or reads.replica_is_left_alone:
        return None
    copy = source(reads.replica, job)
    copy.needed_lsn, copy.wait_seconds = await reads.lsn(), wait_seconds
    copy.silent_seconds = wait_seconds + REPLICA_SILENT_SECONDS
    try:
        async with reads.primary.transaction() as target:
            return await copy_locked(target, copy, job)
    except Stale:
        return None
    except (psycopg.Error, DatabaseUnavailable) as error:  # whatever it is: the primary may do better
        await reads.note_failure(error)
        return None


async def copy_from_primary(database: Database, job: repository.Job) -> int:
    """The number of rows."""
    return await database.run(lambda target: copy_locked(target, source(database, job), job))


async def copy_locked(target: Connection, copy: CopyOut, job: repository.Job) -> int:
    """Copy unless somebody else has done it; whoever comes second waits here. Returns the number of rows.

    Raises NoRoom: everything else may do better the next time.
    """
    if not await repository.lock(target, job["id"]):
        return 0
    number = size = 0
    try:
        async with aclosing(copy.blocks()) as blocks:
            async for block in blocks:
                await repository.add_piece(target, job["id"], number, block)
                number, size = number + 1, size + len(block)
    except FULL as error:
        raise NoRoom() from error
    await repository.finish(target, job["id"], copy.rows, size)
    return copy.rows


async def fail_export(database: Database, export_id: UUID, code: str) -> None:
    """The export cannot be written, for the reason of this code."""
    await repository.fail(database, export_id, code)
