"""What messages ask for: by kind, what is done; and what becomes of a message that cannot be worked on."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from aio_pika.abc import AbstractIncomingMessage

from appstack_backend import broker, tracing
from appstack_backend.cache import Cache
from appstack_backend.database import Database, is_transient
from appstack_backend.dead_letters import RESENT
from appstack_backend.errors import DatabaseUnavailable, ExportNoRoom, InternalError
from appstack_backend.exports.write import NoRoom, fail_export, write_export
from appstack_backend.imports.apply import ChunkRef, apply_chunk, bury_chunk
from appstack_backend.logs import bound, get_logger
from appstack_backend.metrics import MESSAGE_SECONDS
from appstack_backend.outbox import Relay
from appstack_backend.reads import Reads
from appstack_backend.repository import exports, messages, subscriptions
from appstack_backend.settings import Settings
from appstack_backend.webhooks.deliver import DeliveryDead, Sender, deliver
from appstack_backend.worker.consumer import GiveBack, deliveries_before

log = get_logger()
ATTEMPTS, ATTEMPT_PAUSE_SECONDS = 3, 0.5
# What the task asks for cannot be stored, or is more than PostgreSQL can do.
LASTING = (psycopg.errors.DataError, psycopg.errors.IntegrityError, psycopg.errors.ProgramLimitExceeded)
UNKNOWN_SINCE = "x-unknown-since"  # when a worker first met a message of a kind that it does not know
RENEW_SECONDS = 900.0  # well before RabbitMQ takes back what nobody acknowledged, and counts that (30 min by default)


class Hopeless(Exception):
    """No repetition will help: the reason that the dead-letter queue shows, and the code that an export tells."""

    def __init__(self, reason: str, code: str = InternalError.code) -> None:
        super().__init__(reason)
        self.code = code


class UnknownKind(Hopeless):
    """This version cannot work on the message; a newer one may, and in a rolling update it is here soon."""


class Renew(Exception):
    """The message has been held for long, through no fault of its own: it shall come again as a new one."""


@dataclass(slots=True)
class Services:
    """What tasks need from the process."""

    settings: Settings
    database: Database
    reads: Reads
    cache: Cache
    publisher: broker.Publisher
    relay: Relay
    sender: Sender
    stop: asyncio.Event


@dataclass(slots=True)
class Task:
    """A message that could be read."""

    message_id: str
    kind: str
    body: dict[str, Any]
    is_redelivered: bool
    is_resent: bool = False

    @property
    def ids(self) -> dict[str, Any]:
        """What every line about it carries, that of its end too."""
        known = tracing.parsed(self.body.get("traceparent"))
        return {"request_id": self.body.get("request_id")} | ({"trace_id": known[0]} if known else {})

    def uuid(self, name: str) -> UUID:
        try:
            return UUID(self.body[name])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Hopeless(f"the message has no valid {name}") from None

    def attempt(self) -> int:
        attempt = self.body.get("attempt")
        if not isinstance(attempt, int):
            raise Hopeless("the message has no valid attempt")
        return attempt

    def chunk(self) -> ChunkRef:
        number = self.body.get("chunk")
        if not isinstance(number, int):
            raise Hopeless("the message has no valid chunk")
        return ChunkRef(self.uuid("import_id"), number, self.is_redelivered, self.is_resent)


def read(message: AbstractIncomingMessage) -> Task:
    """The task of a message; Hopeless if it is none."""
    try:
        body = msgspec.json.decode(message.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Hopeless("the message is not JSON") from None
    kind = body.get("kind") if isinstance(body, dict) else None
    if not isinstance(kind, str):
        raise Hopeless(f"the message's kind is unknown: {kind!r}")
    if kind not in TASKS:
        raise UnknownKind(f"the message's kind is unknown: {kind!r}")
    is_resent = RESENT in message.headers
    return Task(message.message_id or "", kind, body, deliveries_before(message) > 0, is_resent)


def kept(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What a message takes with it when it is published anew."""
    return {name: headers[name] for name in (RESENT,) if name in headers}


async def import_chunk(services: Services, task: Task) -> None:
    ref = task.chunk()
    with bound(job_id=str(ref.import_id), chunk=ref.number):
        applied = await services.database.run(lambda conn: apply_chunk(conn, ref))
        # Also if it was applied before: whoever did that may have died before it was told.
        await services.cache.remember(await services.reads.lsn(), catalogue=True)
        services.relay.poke()
        log.info("chunk applied", rows=applied)


async def export_run(services: Services, task: Task) -> None:
    export_id = task.uuid("export_id")
    with bound(job_id=str(export_id)):
        if task.is_resent:
            await exports.reopen(services.database, export_id)
        try:
            await write_export(services.reads, export_id, services.settings.export_replica_wait_seconds)
        except NoRoom as error:
            raise Hopeless("the database has no room for the file", ExportNoRoom.code) from error
        services.relay.poke()


async def event(services: Services, task: Task) -> None:
    """Tell whoever subscribed: one delivery for each, however often this message comes."""
    name, request_id = task.body.get("event"), task.body.get("request_id")
    if not isinstance(name, str) or not isinstance(request_id, str) or not task.message_id:
        raise Hopeless("the event has no name, request id or message id")
    data = {key: value for key, value in task.body.items() if key not in ("kind", "event", "request_id", "traceparent")}
    # The API that changed it may have died before it told the cache; the worker that ended it may not have told it yet.
    if name in ("product.changed", "import.finished"):
        await services.cache.remember(await services.reads.lsn(), catalogue=True)
    payload = {"type": name, "timestamp": datetime.now(UTC), "data": data}
    count = await subscriptions.fan_out(
        services.database, task.message_id, name, msgspec.json.encode(payload).decode(), request_id
    )
    if count is not None:
        services.relay.poke()
        log.info("notification", **data, notified_event=name, deliveries=count)


async def webhook_deliver(services: Services, task: Task) -> None:
    """Make one attempt to deliver a webhook."""
    delivery_id, attempt = task.uuid("delivery_id"), task.attempt()
    with bound(delivery_id=str(delivery_id)):
        try:
            await deliver(services.database, services.sender, services.settings, delivery_id, attempt, task.is_resent)
        except DeliveryDead as error:
            raise Hopeless(str(error)) from None


TASKS: dict[str, Callable[[Services, Task], Awaitable[None]]] = {
    "import.chunk": import_chunk,
    "export.run": export_run,
    "event": event,
    "webhook.deliver": webhook_deliver,
}


class Worker:
    """Works on messages of one queue."""

    def __init__(self, services: Services, queue: str) -> None:
        self._services, self._queue = services, queue
        self._buried: set[tuple[str, str]] = set()

    async def work(self, message: AbstractIncomingMessage) -> str:
        """Do what the message asks, or move it to the dead letters; returns the outcome."""
        try:
            task = read(message)
        except UnknownKind as error:
            return await self._put_off(message, error)
        except Hopeless as error:
            await self._bury(message, None, error)
            return "dead"
        with bound(**task.ids):
            return await self._work_on(message, task)

    async def _work_on(self, message: AbstractIncomingMessage, task: Task) -> str:
        try:
            trace = tracing.span(task.kind, "CONSUMER", task.body.get("traceparent"), queue=self._queue)
            with trace, MESSAGE_SECONDS.labels(self._queue, task.kind).time():
                if deliveries_before(message) >= self._services.settings.worker_max_deliveries:
                    # Whoever took it never lived to answer: do not let it take down one worker after the other.
                    raise Hopeless(f"delivered {deliveries_before(message)} times without an answer")
                await self._attempt(task)
            return "done"
        except Hopeless as error:
            await self._bury(message, task, error)
            return "dead"
        except Renew:
            await self._services.publisher.publish(
                self._queue, message.message_id or "", message.body, kept(message.headers)
            )
            return "renewed"

    async def _put_off(self, message: AbstractIncomingMessage, error: UnknownKind) -> str:
        """For a worker that knows it; a dead letter once none came for long. It takes no place here meanwhile."""
        now = int(time.time())
        since = message.headers.get(UNKNOWN_SINCE)
        since = since if isinstance(since, int) else now
        if now - since >= self._services.settings.worker_unknown_seconds:
            await self._bury(message, None, error)
            return "dead"
        log.warning("a message is put off", reason=str(error), queue=self._queue, unknown_seconds=now - since)
        headers = kept(message.headers) | {UNKNOWN_SINCE: since}
        await self._services.publisher.put_off(self._queue, message.message_id or "", message.body, headers)
        return "put_off"

    async def _attempt(self, task: Task) -> None:
        """Try a few times; an unreachable service is waited for as long as this worker lives."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._wait_for_services(task)
            except LASTING as error:
                raise Hopeless(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
            except (Hopeless, GiveBack, Renew):
                raise
            except Exception as error:
                log.exception("a task failed", attempt=attempt)
                if attempt == ATTEMPTS:
                    raise Hopeless(f"failed {ATTEMPTS} times, last with {type(error).__name__}") from error
                await asyncio.sleep(ATTEMPT_PAUSE_SECONDS * attempt)
        return None

    async def _wait_for_services(self, task: Task) -> None:
        return await self._with_database(lambda: TASKS[task.kind](self._services, task), RENEW_SECONDS)

    async def _with_database(self, work: Callable[[], Awaitable[None]], renew_seconds: float = math.inf) -> None:
        """Repeat until the database answers, or this worker is to end: then the message is given back."""
        renew_at = time.monotonic() + renew_seconds
        while True:
            try:
                return await work()
            except (DatabaseUnavailable, psycopg.Error) as error:
                if isinstance(error, psycopg.Error) and not is_transient(error):
                    raise
                await self._services.database.forget_server(error)
                log.warning("waiting for the database", error=str(error).strip())
                if self._services.stop.is_set():
                    raise GiveBack from error
                if time.monotonic() >= renew_at:
                    raise Renew from error
                await asyncio.sleep(ATTEMPT_PAUSE_SECONDS)

    async def _bury(self, message: AbstractIncomingMessage, task: Task | None, error: Hopeless) -> None:
        """Publish to the dead letters with confirm, and tell the job; only then is the original acknowledged.

        A message that comes again while its job could not be told yet has its letter already. Only another
        process cannot know that, where this one ends in between: then two letters have one message id.
        """
        log.error("a message is hopeless", reason=str(error), queue=self._queue)
        known_as = (message.message_id or "", str(message.headers.get(RESENT, 0)))
        if known_as not in self._buried:
            await self._publish_letter(message, str(error))
            if message.message_id:
                self._buried.add(known_as)
        with suppress(Hopeless):  # it names no job that could be told
            await self._with_database(lambda: self._tell_job(task, error.code))
        self._buried.discard(known_as)
        self._services.relay.poke()

    async def _publish_letter(self, message: AbstractIncomingMessage, reason: str) -> None:
        headers = kept(message.headers) | {
            "x-reason": reason,
            "x-queue": self._queue,
            "x-deliveries": deliveries_before(message) + 1,
            "x-died-at": int(time.time()),
        }
        await self._services.publisher.publish(
            broker.dead_letters(self._queue), message.message_id or "", message.body, headers
        )

    async def _tell_job(self, task: Task | None, code: str) -> None:
        """Count what cannot be done as done and failed; let nobody make its message again. Harmless to repeat."""
        if task is not None and task.kind == "import.chunk":
            ref = task.chunk()
            await self._services.database.run(lambda conn: bury_chunk(conn, ref))
        elif task is not None and task.kind == "export.run":
            await fail_export(self._services.database, task.uuid("export_id"), code)
        elif task is not None and task.kind == "event" and task.message_id:
            await messages.mark_buried(self._services.database, task.message_id)
        elif task is not None and task.kind == "webhook.deliver":
            await subscriptions.bury(self._services.database, task.uuid("delivery_id"), task.attempt(), task.is_resent)
