"""SQL of the outbox."""

from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from appstack_backend.database import Connection, Database

# With a mark that outlives the message: whoever repeats a transaction whose end is not known finds it.
ADD = """
    WITH mark AS (INSERT INTO processed_messages (message_id) VALUES (%(mark)s))
    INSERT INTO outbox (queue, message_id, body) VALUES (%(queue)s, %(message_id)s, %(body)s)"""
# Ends the mark of a message that became a dead letter; its own mark is for who has done its work.
BURIED = "/buried"
MARK_BURIED = "INSERT INTO processed_messages (message_id) VALUES (%(mark)s) ON CONFLICT DO NOTHING"
IS_MARKED = "SELECT FROM processed_messages WHERE message_id = %(mark)s"
# Two relays never take the same message: what one has locked the other passes over.
TAKE = """
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, queue, message_id, body"""
AGE = "SELECT extract(epoch FROM now() - created_at)::float8 AS seconds FROM outbox ORDER BY id LIMIT 1"


async def add(conn: Connection, queue: str, message_id: str, body: dict[str, Any], mark: str) -> None:
    """Send a message when, and only when, the caller's transaction commits, and leave a mark of that."""
    await conn.execute(ADD, {"queue": queue, "message_id": message_id, "body": Jsonb(body), "mark": mark})


async def is_marked(conn: Connection, mark: str) -> bool:
    """Whether the transaction that left this mark was committed."""
    return (await conn.execute(IS_MARKED, {"mark": mark})).rowcount > 0


async def mark_buried(database: Database, message_id: str) -> None:
    """Let nobody make this message again: it lies among the dead letters, to be sent back from there."""
    await database.execute(MARK_BURIED, {"mark": message_id + BURIED})


async def take(conn: Connection, limit: int) -> list[dict[str, Any]]:
    """The oldest messages; they come back if the caller's transaction fails."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(TAKE, {"limit": limit})
        return sorted(await cursor.fetchall(), key=lambda message: message["id"])


async def age_seconds(database: Database) -> float:
    """How long the oldest message waits; 0 if none does."""
    oldest = await database.fetch_one(AGE)
    return max(0.0, oldest["seconds"]) if oldest else 0.0
