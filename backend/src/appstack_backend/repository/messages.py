"""SQL of the outbox."""

from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from appstack_backend.database import Connection

ADD = "INSERT INTO outbox (queue, message_id, body) VALUES (%(queue)s, %(message_id)s, %(body)s)"
# Two relays never take the same message: what one has locked the other passes over.
TAKE = """
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, queue, message_id, body"""


async def add(conn: Connection, queue: str, message_id: str, body: dict[str, Any]) -> None:
    """Send a message when, and only when, the caller's transaction commits."""
    await conn.execute(ADD, {"queue": queue, "message_id": message_id, "body": Jsonb(body)})


async def take(conn: Connection, limit: int) -> list[dict[str, Any]]:
    """The oldest messages; they come back if the caller's transaction fails."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(TAKE, {"limit": limit})
        return sorted(await cursor.fetchall(), key=lambda message: message["id"])
