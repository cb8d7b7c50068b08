"""The dead letters: looking at them, sending them back, dropping them. Nothing is lost if this is killed."""

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from appstack_backend import broker

RESENT = "x-resent"  # how often a person sent the message back; workers then begin anew
OURS = ("x-reason", "x-queue", "x-deliveries", "x-died-at")
SECONDS = 5.0


@asynccontextmanager
async def dead_queue(url: str, queue: str) -> AsyncIterator[AbstractQueue]:
    """The dead-letter queue of a queue. What is taken and not acknowledged goes back when this ends."""
    connection = await broker.connect(url, "dead-letters")
    try:
        channel = await connection.channel()
        await broker.declare_queues(channel, (queue,))
        yield await channel.declare_queue(broker.dead_letters(queue), passive=True, timeout=SECONDS)
    finally:
        await broker.close(connection)


async def letters(dead: AbstractQueue, wanted: Collection[str]) -> AsyncIterator[AbstractIncomingMessage]:
    """The letters there are now, oldest first: all of them, or those of some message ids."""
    for _ in range(dead.declaration_result.message_count or 0):
        letter = await dead.get(fail=False, timeout=SECONDS)
        if letter is None:
            return
        if not wanted or letter.message_id in wanted:
            yield letter


def shown(letter: AbstractIncomingMessage, with_body: bool) -> dict[str, Any]:
    """A letter as the command prints it."""
    headers = letter.headers
    died_at = headers.get("x-died-at")
    told: dict[str, Any] = {
        "message_id": letter.message_id,
        "reason": headers.get("x-reason"),
        "deliveries": headers.get("x-deliveries"),
        "died_at": datetime.fromtimestamp(died_at, UTC).isoformat() if isinstance(died_at, int) else None,
        "resent": headers.get(RESENT, 0),
        "bytes": len(letter.body),
    }
    return {**told, "body": letter.body.decode(errors="replace")} if with_body else told


async def show(url: str, queue: str, wanted: Collection[str], with_body: bool) -> list[dict[str, Any]]:
    """What lies there; it stays there."""
    async with dead_queue(url, queue) as dead:
        return [shown(letter, with_body) async for letter in letters(dead, wanted)]


async def resend(url: str, queue: str, wanted: Collection[str]) -> list[dict[str, Any]]:
    """Send letters back to their queue: published with confirm first, taken away only then."""
    publisher = broker.Publisher(url, "dead-letters")
    sent = []
    try:
        async with dead_queue(url, queue) as dead:
            async for letter in letters(dead, wanted):
                times = letter.headers.get(RESENT, 0)
                headers = {name: value for name, value in letter.headers.items() if name not in OURS}
                headers |= {RESENT: (times if isinstance(times, int) else 0) + 1}
                headers.pop("x-delivery-count", None)
                await publisher.publish(queue, letter.message_id or "", letter.body, headers)
                await letter.ack()
                sent.append(shown(letter, with_body=False))
    finally:
        await publisher.close()
    return sent


async def drop(url: str, queue: str, wanted: Collection[str]) -> list[dict[str, Any]]:
    """Take letters away for good; each is printed whole, so that it can still be read."""
    dropped = []
    async with dead_queue(url, queue) as dead:
        async for letter in letters(dead, wanted):
            await letter.ack()
            dropped.append(shown(letter, with_body=True))
    return dropped


async def run(url: str, action: str, queue: str, wanted: Collection[str]) -> str:
    """What the command prints: one JSON object a line."""
    if action in ("list", "show"):
        told = await show(url, queue, wanted, with_body=action == "show")
    else:
        told = await (resend if action == "resend" else drop)(url, queue, wanted)
    return "".join(json.dumps(letter) + "\n" for letter in told)
