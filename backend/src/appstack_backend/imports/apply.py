"""Applying a chunk: its rows, its mark and the job's progress in one transaction, so that a repeat changes nothing."""

from dataclasses import dataclass
from uuid import UUID

from appstack_backend.database import Connection
from appstack_backend.logs import get_logger
from appstack_backend.metrics import IMPORT_ROWS
from appstack_backend.repository import catalogue
from appstack_backend.repository import imports as repository

log = get_logger()
# A worker that died keeps its row locks until the server notices: do not queue up behind them for ever.
TIMEOUTS = (
    "SELECT set_config('lock_timeout', '15s', true), set_config('idle_in_transaction_session_timeout', '60s', true)"
)


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """What a message asks to apply."""

    import_id: UUID
    number: int
    is_redelivered: bool
    is_resent: bool = False  # a person sent it back from the dead letters

    @property
    def key(self) -> dict[str, object]:
        return {"id": self.import_id, "number": self.number, "redelivered": int(self.is_redelivered)}


async def apply_chunk(conn: Connection, ref: ChunkRef) -> int:
    """Apply a chunk unless that was done before; returns how many rows were applied."""
    await conn.execute(TIMEOUTS)
    row = await (await conn.execute(repository.LOCK_CHUNK, ref.key, binary=True)).fetchone()
    if row is None:
        log.warning("the chunk is gone", reason="its upload was resumed or its import purged")
        return 0
    payload, rows, state, position, import_state = row[:5]
    is_revived = state == "dead" and ref.is_resent
    if state != "pending" and not is_revived:
        log.info("the chunk was applied before", chunk_state=state)
        if ref.is_redelivered:
            await conn.execute(repository.COUNT_REDELIVERY, ref.key)
        return 0
    applied = 0 if import_state == "cancelled" else rows
    if applied:
        await catalogue.apply_rows(conn, payload, position)
    await conn.execute(repository.MARK_CHUNK, {**ref.key, "state": "done"})
    if is_revived:
        await conn.execute(repository.REVIVE, {**ref.key, "imported": applied})
    else:
        await conn.execute(repository.COUNT_CHUNK, {**ref.key, "imported": applied, "is_dead": False})
    IMPORT_ROWS.labels("imported").inc(applied)
    return int(applied)


async def bury_chunk(conn: Connection, ref: ChunkRef) -> None:
    """Count a hopeless chunk as done and its import as failed."""
    row = await (await conn.execute(repository.LOCK_CHUNK, ref.key)).fetchone()
    if row is not None and row[2] == "pending":
        await conn.execute(repository.MARK_CHUNK, {**ref.key, "state": "dead"})
        await conn.execute(repository.COUNT_CHUNK, {**ref.key, "imported": 0, "is_dead": True})
