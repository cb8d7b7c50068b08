"""Writing an export: COPY out of one consistent snapshot into pieces that commit together or not at all."""

from uuid import UUID

from appstack_backend.database import Connection, Database
from appstack_backend.logs import get_logger
from appstack_backend.repository import exports as repository

log = get_logger()
PIECE_BYTES = 256 << 10


async def write_export(database: Database, export_id: UUID) -> None:
    """Write the file of an export unless that was done before. A crash half-way leaves no piece behind."""
    job = await repository.start(database, export_id)
    if job is None:
        log.info("the export was written before")
        return

    async def work(target: Connection) -> int:
        if not await repository.lock(target, export_id):
            return 0
        async with database.transaction() as source:
            return await copy_pieces(source, target, job)

    rows = await database.run(work)
    log.info("export written", rows=rows)


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
