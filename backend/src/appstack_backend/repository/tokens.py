"""SQL of tokens. Only hashes are stored: a token is random and long, so a plain SHA-256 will do."""

from typing import Any
from uuid import UUID

from appstack_backend.database import Connection, Database, rows_of
from appstack_backend.reads import Reads
from appstack_backend.repository import subscriptions

BY_HASH = "SELECT id, name, scopes FROM tokens WHERE hash = %(hash)s AND revoked_at IS NULL"
IS_REVOKED = "SELECT 1 FROM tokens WHERE id = %(id)s::uuid AND revoked_at IS NOT NULL"
CREATE = """
    INSERT INTO tokens (id, name, hash, scopes) VALUES (%(id)s, %(name)s, %(hash)s, %(scopes)s)
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
    RETURNING id, name, scopes, created_at, revoked_at"""
PAGE = """
    SELECT id, name, scopes, created_at, revoked_at FROM tokens
    WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"""
# Its subscriptions end with it: nobody is left who could be told that they go on.
REVOKE = """
    WITH silenced AS (
        UPDATE subscriptions SET state = 'disabled', disabled_reason = 'its token was revoked'
        WHERE owner = %(owner)s AND state = 'active'
    )
    UPDATE tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s
    RETURNING id, name, scopes, created_at, revoked_at"""


async def is_revoked(database: Database, caller: str) -> bool:
    """Whether it is a token, and one that no longer counts."""
    kind, _, token_id = caller.partition(":")
    return kind == "token" and await database.fetch_one(IS_REVOKED, {"id": token_id}) is not None


async def by_hash(reads: Reads, digest: bytes) -> dict[str, Any] | None:
    """Who has the token, as the primary knows it, so that a revoked one ends; a failover alone shall not end others."""
    rows = await reads.ask_primary_first(lambda conn: rows_of(conn, BY_HASH, {"hash": digest}))
    return rows[0] if rows else None


async def create(database: Database, token_id: UUID, name: str, digest: bytes, scopes: list[str]) -> dict[str, Any]:
    """The token, also where the answer to a first commit was lost and the work is repeated."""
    row = await database.fetch_one(CREATE, {"id": token_id, "name": name, "hash": digest, "scopes": scopes})
    assert row is not None
    return row


async def page(database: Database, after: UUID, limit: int) -> list[dict[str, Any]]:
    return await database.fetch_all(PAGE, {"after": after, "limit": limit})


async def revoke(database: Database, token_id: UUID) -> dict[str, Any] | None:
    """The token, now revoked; None if it is unknown."""
    values = {"id": token_id, "owner": f"token:{token_id}"}

    async def work(conn: Connection) -> dict[str, Any] | None:
        await conn.execute(subscriptions.IN_LINE, values)
        rows = await rows_of(conn, REVOKE, values)
        return rows[0] if rows else None

    return await database.run(work)
