"""The outbox relay: carries messages from PostgreSQL to RabbitMQ, each at least once, none before its commit."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from appstack_backend.broker import TROUBLE, Publisher
from appstack_backend.database import Database
from appstack_backend.errors import DatabaseUnavailable
from appstack_backend.logs import get_logger
from appstack_backend.metrics import OUTBOX_FAILURES, OUTBOX_PUBLISHED
from appstack_backend.repository import messages

log = get_logger()
BATCH = 100
LONGEST_PAUSE_SECONDS = 5.0


async def relay_once(database: Database, publisher: Publisher) -> int:
    """Publish one batch; returns its size. Until all are confirmed, none has left the outbox."""
    async with database.transaction() as conn:
        batch = await messages.take(conn, BATCH)
        if batch:
            await publish_all(publisher, batch)
    for message in batch:
        OUTBOX_PUBLISHED.labels(message["queue"]).inc()
    return len(batch)


async def publish_all(publisher: Publisher, batch: Sequence[Mapping[str, Any]]) -> None:
    """Return once every message is confirmed; the first failure ends the rest, and is raised.

    Not a TaskGroup: one that failed leaves its caller marked as cancelled, so that in Python 3.11.2 (Debian 12) the
    relay's next pause would end it for good; and it takes a child that was cancelled from within for a success.
    """
    tasks = [
        asyncio.create_task(publisher.publish(message["queue"], message["message_id"], message["body"]))
        for message in batch
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
    if any(task.cancelled() for task in tasks):
        raise ConnectionAbortedError("a message was not confirmed")


async def sweep(database: Database, publisher: Publisher) -> int:
    """Publish all there is; returns how many."""
    total = 0
    while count := await relay_once(database, publisher):
        total += count
    return total


class Relay:
    """A relay within an API or worker process. Any number of them may run."""

    def __init__(self, database: Database, publisher: Publisher, poll_seconds: float) -> None:
        self._database, self._publisher, self._poll_seconds = database, publisher, poll_seconds
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Something was just committed to the outbox: do not wait for the next poll."""
        self._poked.set()

    async def run(self) -> None:
        """Relay until cancelled."""
        pause = self._poll_seconds
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()
            self._poked.clear()
            try:
                await sweep(self._database, self._publisher)
                pause = self._poll_seconds
            except* (psycopg.Error, DatabaseUnavailable, *TROUBLE) as group:
                OUTBOX_FAILURES.inc()
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                for error in group.exceptions:
                    await self._database.forget_server(error)
                log.warning("the outbox waits", error=repr(group.exceptions[0]), next_try_seconds=pause)
