"""RabbitMQ: connections, the queues there are, and publishing with confirmation."""

import asyncio
from contextlib import suppress
from typing import Any

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from appstack_backend.broker_wire import Connection

QUEUES = ("bulk", "notifications")
CONNECT_SECONDS, PUBLISH_SECONDS = 5.0, 10.0
OPEN_SECONDS = 5.0  # a node that has just lost another one may take connections, and answer nothing on them
CLOSE_SECONDS = 3.0  # the library waits for two for the broker's goodbye, and then lets go by itself
# Quorum queues bury a message after 20 deliveries by default; our workers decide that, with a reason.
ARGUMENTS: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
# After which a message comes to its queue again that was put off. A queue keeps what it was declared with: who changes
# this gives that queue another name.
LATER_SECONDS = 5
TROUBLE = (aio_pika.exceptions.AMQPError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)


def dead_letters(queue: str) -> str:
    """The queue where hopeless messages of a queue wait for a person."""
    return f"{queue}.dead"


def later(queue: str) -> str:
    """Where messages of a queue wait that were put off; it is made when the first one is."""
    return f"{queue}.later"


async def connect(url: str, name: str) -> AbstractConnection:
    """A plain connection: when it breaks it stays broken, and its owner makes a new one."""
    connection = Connection(URL(url), client_properties={"connection_name": name})
    try:
        await connection.connect(timeout=CONNECT_SECONDS)
    except BaseException:
        await close(connection)  # else its finalizer would, wherever and whenever that runs
        raise
    return connection


async def close(connection: AbstractConnection) -> None:
    """Let go of a connection, whatever state it is in."""
    with suppress(*TROUBLE):
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()
    await connection.close()  # what a time-out interrupted: by now there is nobody to wait for


async def declare_queues(channel: AbstractChannel, queues: tuple[str, ...] = QUEUES) -> None:
    """Declare the queues and their dead-letter queues; harmless if they exist."""
    for queue in queues:
        for name in (queue, dead_letters(queue)):
            await channel.declare_queue(name, durable=True, arguments={**ARGUMENTS}, timeout=CONNECT_SECONDS)


class Publisher:
    """Publishes; a message counts as sent once a quorum of the broker confirmed it."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._lock = asyncio.Lock()

    async def publish(
        self, queue: str, message_id: str, body: dict[str, Any] | bytes, headers: dict[str, Any] | None = None
    ) -> None:
        """Raises one of TROUBLE, and starts over with a new connection next time, unless confirmed."""
        try:
            channel = await self._open()
            message = aio_pika.Message(
                body if isinstance(body, bytes) else msgspec.json.encode(body),
                message_id=message_id,
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                headers=headers or {},
            )
            await channel.default_exchange.publish(message, routing_key=queue, mandatory=True, timeout=PUBLISH_SECONDS)
        except BaseException:
            await self.close()
            raise

    async def put_off(self, queue: str, message_id: str, body: bytes, headers: dict[str, Any]) -> None:
        """Publish what is to come to the queue in a moment, behind what waits there. Raises one of TROUBLE."""
        arguments = {
            **ARGUMENTS,
            "x-message-ttl": LATER_SECONDS * 1_000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # without which that strategy is not taken
        }
        try:
            channel = await self._open()
            await channel.declare_queue(later(queue), durable=True, arguments={**arguments}, timeout=CONNECT_SECONDS)
        except BaseException:
            await self.close()
            raise
        await self.publish(later(queue), message_id, body, headers)

    async def waiting(self, queue: str) -> int:
        """How many messages wait in a queue, those in the hands of workers left out. Raises one of TROUBLE."""
        try:
            state = await (await self._open()).declare_queue(queue, passive=True, timeout=CONNECT_SECONDS)
        except BaseException:
            await self.close()
            raise
        return int(state.declaration_result.message_count or 0)

    async def _open(self) -> AbstractChannel:
        async with self._lock:
            if self._channel is None or self._channel.is_closed or self._connection is None:
                await self.close()  # of which the broker may have closed the channel alone
                self._connection = await connect(self._url, self._name)
                async with asyncio.timeout(OPEN_SECONDS):
                    self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                    await declare_queues(self._channel)
            return self._channel

    async def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await close(connection)
