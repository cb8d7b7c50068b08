"""SQL of subscriptions: who wants to know what, what is to be delivered, and which targets are left alone."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from appstack_backend import tracing
from appstack_backend.database import Connection, Database, rows_of
from appstack_backend.repository import messages

Row = dict[str, Any]

# Whoever makes a subscription, or ends all of a token, stands in line: else each would count without the others, and
# a token that is being revoked made more. Itself is not counted: a commit whose answer was lost is repeated.
IN_LINE = "SELECT pg_advisory_xact_lock(hashtextextended('subscriptions/' || %(owner)s, 0))"
CREATE = """
    INSERT INTO subscriptions (id, owner, url, events, secret)
    SELECT %(id)s, %(owner)s, %(url)s, %(events)s, %(secret)s
    WHERE %(most)s > (SELECT count(*) FROM subscriptions WHERE owner = %(owner)s AND id <> %(id)s)
      AND NOT EXISTS (SELECT FROM tokens WHERE id = %(token)s::uuid AND revoked_at IS NOT NULL)
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
    RETURNING id, owner, url, events, state, disabled_reason, created_at"""
BY_ID = """
    SELECT id, owner, url, events, state, disabled_reason, created_at FROM subscriptions WHERE id = %(id)s"""
PAGE = """
    SELECT id, owner, url, events, state, disabled_reason, created_at FROM subscriptions
    WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"""
# Leaves a mark: who asks again since the answer was lost is told the same, until the mark is purged.
DELETE = """
    WITH gone AS (
        DELETE FROM subscriptions WHERE id = %(id)s RETURNING id
    ), mark AS (
        INSERT INTO processed_messages (message_id) SELECT %(mark)s FROM gone ON CONFLICT DO NOTHING
    )
    SELECT id FROM gone"""
DISABLE = "UPDATE subscriptions SET state = 'disabled', disabled_reason = %(reason)s WHERE id = %(id)s"
DELIVERIES = """
    SELECT id, event, state, attempts, next_attempt_at, last_status, last_error, created_at, finished_at
    FROM deliveries
    WHERE subscription_id = %(id)s AND (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s"""

# The event's mark, its deliveries and their messages commit together: an event told twice is delivered once.
FAN_OUT = """
    WITH mark AS (
        INSERT INTO processed_messages (message_id) VALUES (%(event_id)s) ON CONFLICT DO NOTHING RETURNING 1
    ), created AS (
        INSERT INTO deliveries (id, subscription_id, event_id, event, payload, request_id, traceparent)
        SELECT gen_random_uuid(), s.id, %(event_id)s, %(event)s, %(payload)s, %(request_id)s, %(traceparent)s
        FROM mark, subscriptions s WHERE s.state = 'active' AND s.events @> ARRAY[%(event)s]
        RETURNING *
    ), message AS (
        INSERT INTO outbox (queue, message_id, body)
        SELECT 'notifications', 'webhook.deliver/' || id || '/0', jsonb_build_object(
            'kind', 'webhook.deliver', 'delivery_id', id, 'attempt', 0, 'request_id', request_id,
            'traceparent', traceparent)
        FROM created
    )
    SELECT (SELECT count(*) FROM mark) AS marked, (SELECT count(*) FROM created) AS created"""
# What is due goes to the queue again; two promoters never take the same delivery. Each subscription has an equal share,
# however many wait for one of them; what waits for a target that is left alone stays where it is. Who has something to
# send is found by jumps along the index: the cost is that of the subscriptions, not of what waits for them.
PROMOTE = """
    WITH RECURSIVE waiting AS (
        (SELECT subscription_id AS id FROM deliveries WHERE state = 'pending' AND next_attempt_at IS NOT NULL
            ORDER BY subscription_id LIMIT 1)
        UNION ALL
        SELECT (SELECT subscription_id FROM deliveries WHERE state = 'pending' AND next_attempt_at IS NOT NULL
            AND subscription_id > waiting.id ORDER BY subscription_id LIMIT 1)
        FROM waiting WHERE waiting.id IS NOT NULL
    ), ready AS (
        SELECT s.id FROM waiting JOIN subscriptions s USING (id)
        WHERE (s.rests_until IS NULL OR s.rests_until <= now()) AND EXISTS (
            SELECT FROM deliveries WHERE subscription_id = s.id AND state = 'pending' AND next_attempt_at <= now())
        ORDER BY random() LIMIT %(limit)s
    ), due AS (
        SELECT d.id FROM ready CROSS JOIN LATERAL (
            SELECT id FROM deliveries
            WHERE subscription_id = ready.id AND state = 'pending' AND next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT (SELECT %(limit)s / greatest(count(*), 1) FROM ready)
            FOR UPDATE SKIP LOCKED) d
    ), moved AS (
        UPDATE deliveries d SET next_attempt_at = NULL FROM due WHERE d.id = due.id
        RETURNING d.id, d.attempts, d.request_id, d.traceparent
    )
    INSERT INTO outbox (queue, message_id, body)
    SELECT 'notifications', 'webhook.deliver/' || id || '/' || attempts, jsonb_build_object(
        'kind', 'webhook.deliver', 'delivery_id', id, 'attempt', attempts, 'request_id', request_id,
            'traceparent', traceparent)
    FROM moved RETURNING id"""
# Its target is left alone: until then nothing is promoted for it. Written once, however many find that out.
REST = """
    UPDATE subscriptions SET rests_until = %(until)s
    WHERE id = %(id)s AND (rests_until IS NULL OR rests_until < %(until)s)"""
# It has answered: what waits for it need not wait any longer.
WAKE = "UPDATE subscriptions SET rests_until = NULL WHERE id = %(id)s AND rests_until IS NOT NULL"
DELIVERY = """
    SELECT d.id, d.subscription_id, d.event, d.payload, d.state, d.attempts, d.next_attempt_at,
        extract(epoch FROM now() - d.created_at)::float8 AS age_seconds,
        s.owner, s.url, s.secret, s.state AS subscription_state
    FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id WHERE d.id = %(id)s"""
REOPEN = """
    UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = NULL, finished_at = NULL
    WHERE id = %(id)s AND state = 'dead'"""
# `attempts` guards: an attempt that was recorded before is not recorded again.
RECORD = """
    UPDATE deliveries SET
        state = %(state)s, attempts = attempts + 1, last_status = %(status)s, last_error = %(error)s,
        next_attempt_at = now() + %(delay)s,
        finished_at = CASE WHEN %(state)s <> 'pending' THEN now() END
    WHERE id = %(id)s AND state = 'pending' AND attempts = %(attempt)s RETURNING id"""
# Its message became a dead letter, and nobody makes that again. Why is told in the letter, not to the subscriber.
BURY = """
    UPDATE deliveries SET state = 'dead', next_attempt_at = NULL, finished_at = now(),
        last_error = 'an attempt failed on our side; its request id is ' || request_id
    WHERE id = %(id)s AND state = 'pending' AND (attempts = %(attempt)s OR %(is_resent)s)"""
DEFER = """
    UPDATE deliveries SET next_attempt_at = greatest(%(until)s, now()) + %(jitter)s, last_error = %(error)s
    WHERE id = %(id)s AND state = 'pending' AND attempts = %(attempt)s"""

TARGET = "SELECT open_until, open_until > now() AS is_open FROM webhook_targets WHERE origin = %(origin)s"
PROBE = """
    UPDATE webhook_targets SET open_until = now() + %(probe)s
    WHERE origin = %(origin)s AND open_until <= now() RETURNING 1"""
TARGET_ANSWERED = "DELETE FROM webhook_targets WHERE origin = %(origin)s"
TARGET_FAILED = """
    INSERT INTO webhook_targets AS t (origin, failures, open_until)
    VALUES (%(origin)s, 1, CASE WHEN %(threshold)s <= 1 THEN now() + %(open)s END)
    ON CONFLICT (origin) DO UPDATE SET failures = t.failures + 1, failed_at = now(),
        open_until = CASE WHEN t.failures + 1 >= %(threshold)s THEN now() + %(open)s ELSE t.open_until END"""


async def create(
    database: Database, subscription_id: UUID, owner: str, url: str, events: list[str], secret: str, most: int
) -> Row | None:
    """The subscription; None if its owner has as many, or a token that has been revoked meanwhile."""
    values = {"id": subscription_id, "owner": owner, "url": url, "events": events, "secret": secret, "most": most}
    values |= {"token": owner.removeprefix("token:") if owner.startswith("token:") else None}

    async def work(conn: Connection) -> Row | None:
        await conn.execute(IN_LINE, values)
        rows = await rows_of(conn, CREATE, values)
        return rows[0] if rows else None

    return await database.run(work)


async def by_id(database: Database, subscription_id: UUID) -> Row | None:
    return await database.fetch_one(BY_ID, {"id": subscription_id})


async def page(database: Database, after: UUID, limit: int) -> list[Row]:
    return await database.fetch_all(PAGE, {"after": after, "limit": limit})


async def delete(database: Database, subscription_id: UUID) -> bool:
    """Whether it is gone, now or by an earlier call; its deliveries go with it."""
    values = {"id": subscription_id, "mark": f"subscription.deleted/{subscription_id}"}
    if await database.fetch_one(DELETE, values) is not None:
        return True
    return await database.fetch_one(messages.IS_MARKED, values) is not None


async def page_of_deliveries(
    database: Database, subscription_id: UUID, before: datetime, before_id: UUID, limit: int
) -> list[Row]:
    """Deliveries, newest first, older than the given one."""
    values = {"id": subscription_id, "before": before, "before_id": before_id, "limit": limit}
    return await database.fetch_all(DELIVERIES, values)


async def fan_out(database: Database, event_id: str, event: str, payload: str, request_id: str) -> int | None:
    """How many deliveries an event makes; None if it was told before."""
    values = {"event_id": event_id, "event": event, "payload": payload, "request_id": request_id}
    row = await database.fetch_one(FAN_OUT, {**values, "traceparent": tracing.current()})
    return int(row["created"]) if row and row["marked"] else None


async def promote(database: Database, limit: int = 100) -> int:
    """Send the messages of what is due; returns how many. What some leave of their share is shared among the others."""
    sent = 0
    while sent < limit and (more := len(await database.fetch_all(PROMOTE, {"limit": limit - sent}))):
        sent += more
    return sent


async def delivery(database: Database, delivery_id: UUID, reopen: bool) -> Row | None:
    """A delivery with its target; None if its subscription is gone. `reopen`: a dead one starts anew."""

    async def work(conn: Connection) -> Row | None:
        if reopen:
            await conn.execute(REOPEN, {"id": delivery_id})
        async with conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(DELIVERY, {"id": delivery_id})
            return await cursor.fetchone()

    return await database.run(work)


async def open_until(database: Database, origin: str, probe: Any) -> datetime | None:
    """Until when a target is left alone; None if it may be tried now. One caller at a time gets to probe."""
    target = await database.fetch_one(TARGET, {"origin": origin})
    if target is None or target["open_until"] is None:
        return None
    if target["is_open"]:
        return datetime.fromisoformat(target["open_until"].isoformat())
    probing = await database.fetch_one(PROBE, {"origin": origin, "probe": probe})
    return None if probing else await open_until(database, origin, probe)


async def bury(database: Database, delivery_id: UUID, attempt: int, is_resent: bool) -> None:
    """Nobody can make this attempt, whatever its target is like."""
    await database.execute(BURY, {"id": delivery_id, "attempt": attempt, "is_resent": is_resent})


async def defer(database: Database, delivery_id: UUID, attempt: int, until: datetime, jitter: Any, why: str) -> None:
    """Try later, without counting this as an attempt."""
    values = {"id": delivery_id, "attempt": attempt, "until": until, "jitter": jitter}
    await database.execute(DEFER, {**values, "error": why})


async def rest(database: Database, subscription_id: UUID, until: datetime) -> None:
    """Promote nothing of a subscription before that."""
    await database.execute(REST, {"id": subscription_id, "until": until})


async def record(database: Database, values: Row, target: Row | None, disable_reason: str | None) -> bool:
    """Record an attempt and what it tells about the target, if anything; False if that was done before."""

    async def work(conn: Connection) -> bool:
        if await (await conn.execute(RECORD, values)).fetchone() is None:
            return False
        if target:
            await conn.execute(TARGET_FAILED if target["is_failure"] else TARGET_ANSWERED, target)
            if not target["is_failure"]:
                await conn.execute(WAKE, {"id": values["subscription_id"]})
        if disable_reason:
            await conn.execute(DISABLE, {"id": values["subscription_id"], "reason": disable_reason})
        return True

    return await database.run(work)
