"""Clients of RabbitMQ: publishers that wait for each confirmation, and a consumer that acknowledges."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aio_pika
from yarl import URL

from appstack_backend.broker_wire import Connection as BackendConnection
from tests.chaos.clients import leading
from tests.chaos.history import Action, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

    from tests.chaos.clients.record import Recorder
    from tests.chaos.clients.target import Target

QUEUE = "chaos"
ARGUMENTS: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
RHYTHM_SECONDS = 0.1
RECONNECTING_RHYTHM_SECONDS = 0.4  # each message costs a whole handshake of the broker
CONFIRM_SECONDS = 2.0
REACH_SECONDS = 1.0  # a third of all connections are led to a node that is lost
ANSWER_SECONDS = 2.0
SETTLE_SECONDS = 0.1
TROUBLE = (aio_pika.exceptions.AMQPError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)


async def connect(
    url: str, kind: type[aio_pika.Connection] = aio_pika.Connection
) -> tuple[AbstractConnection, AbstractChannel]:
    """A connection that stays broken when it breaks, and a channel with confirmations."""
    address = URL(url).update_query(heartbeat="4")
    connection = await aio_pika.connect(address, timeout=REACH_SECONDS, connection_class=kind)
    try:
        async with asyncio.timeout(REACH_SECONDS):
            return connection, await connection.channel(publisher_confirms=True, on_return_raises=True)
    except BaseException:
        await close(connection)
        raise


async def connect_to(
    pod: str, url: str, kind: type[aio_pika.Connection] = aio_pika.Connection
) -> tuple[AbstractConnection, AbstractChannel]:
    """The same to the pod of this address; empty: to any. Raises Elsewhere."""
    place = URL(url)
    for _ in range(leading.TRIES):
        connection, channel = await connect(url, kind)
        if not pod or pod in leading.pods_behind(place.host or "", place.port or 5672):
            return connection, channel
        await close(connection)
    raise leading.Elsewhere(f"no connection to {place.host} leads to {pod}")


async def close(connection: AbstractConnection | None) -> None:
    """Let go of a connection, whatever state it is in."""
    if connection is None:
        return
    try:
        async with asyncio.timeout(0.2):
            await connection.close()
    except TROUBLE:
        pass


async def publish(recorder: Recorder, url: str, *, is_held: bool, pod: str = "") -> None:
    """Publish 0, 1, 2, … until told to end; over the first connection to this pod."""
    connection, channel, number = None, None, 0
    rhythm = RHYTHM_SECONDS if is_held else RECONNECTING_RHYTHM_SECONDS
    while not recorder.stop.is_set():
        start, sent = time.monotonic(), False
        try:
            if channel is None:
                connection, channel = await connect_to(pod, url)
                pod = ""
            message = aio_pika.Message(
                str(number).encode(), message_id=recorder.client, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            sent = True
            await channel.default_exchange.publish(message, QUEUE, mandatory=True, timeout=CONFIRM_SECONDS)
            outcome, words = Outcome.OK, ""
        except TROUBLE as error:
            outcome, words = Outcome.UNKNOWN if sent else Outcome.FAILED, f"{type(error).__name__}: {error}"
        recorder.note(Action.PUBLISH, recorder.client, number, start, outcome, words)
        if outcome is not Outcome.OK or not is_held:
            await close(connection)
            connection, channel = None, None
        number += 1
        await asyncio.sleep(max(start + rhythm - time.monotonic(), 0.05))
    await close(connection)


async def consume(recorder: Recorder, url: str, pod: str = "") -> None:
    """Take and acknowledge messages until told to end; a broken connection, the first to this pod, is made anew.

    Over a connection as the backend has them: who only listens learns of a broker that stands still by its silence.
    """
    while not recorder.stop.is_set():
        connection = None
        try:
            connection, channel = await connect_to(pod, url, BackendConnection)
            pod = ""
            await channel.set_qos(prefetch_count=50)
            queue = await channel.get_queue(QUEUE, ensure=False)
            in_hand: set[int] = set()
            tag = await queue.consume(taker(recorder, in_hand), timeout=ANSWER_SECONDS)
            while not recorder.stop.is_set() and not connection.is_closed and not channel.is_closed:  # noqa: ASYNC110 - three ends
                await asyncio.sleep(0.1)
            if recorder.stop.is_set():
                await take_the_rest(queue, tag, in_hand)
        except TROUBLE as error:
            recorder.note(Action.DELIVER, QUEUE, None, time.monotonic(), Outcome.FAILED, str(error))
            await asyncio.sleep(0.1)
        await close(connection)


async def take_the_rest(queue: AbstractQueue, tag: str, in_hand: Collection[int]) -> None:
    """Take no more, but what is on its way: an empty queue has none that is ready, and may have 50 unacknowledged.

    The broker's answer comes behind the last of them. Raises TimeoutError.
    """
    await queue.cancel(tag, timeout=ANSWER_SECONDS)
    async with asyncio.timeout(ANSWER_SECONDS):
        await asyncio.sleep(SETTLE_SECONDS)  # the library passes a message on through tasks of its own
        while in_hand:  # noqa: ASYNC110 - for two seconds at most
            await asyncio.sleep(0.01)


def taker(recorder: Recorder, in_hand: set[int]) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    """What is done with a message: written down, then acknowledged; meanwhile it is in hand."""

    async def take(message: AbstractIncomingMessage) -> None:
        in_hand.add(id(message))
        try:
            action = Action.REDELIVER if message.redelivered else Action.DELIVER
            recorder.note(action, message.message_id or "", int(message.body), time.monotonic(), Outcome.OK)
            await message.ack()
        finally:
            in_hand.remove(id(message))

    return take


def publish_held(recorder: Recorder, target: Target) -> None:
    """Over one connection while it lives."""
    asyncio.run(publish(recorder, target.amqp_url, is_held=True, pod=target.rabbitmq_pod))


def publish_reconnecting(recorder: Recorder, target: Target) -> None:
    """Over a new connection for each message."""
    asyncio.run(publish(recorder, target.amqp_url, is_held=False))


def read(recorder: Recorder, target: Target) -> None:
    """The consumer."""
    asyncio.run(consume(recorder, target.amqp_url, target.rabbitmq_pod))


async def prepare(url: str) -> None:
    """Declare the queue, empty."""
    connection, channel = await connect(url)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments={**ARGUMENTS})
    await queue.purge()
    await close(connection)


async def backlog(url: str) -> int:
    """Messages that wait in the queue; what a consumer holds is not among them: it takes it before it ends."""
    connection, channel = await connect(url)
    try:
        queue = await channel.declare_queue(QUEUE, durable=True, passive=True)
        return int(queue.declaration_result.message_count or 0)
    finally:
        await close(connection)
