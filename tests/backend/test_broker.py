"""Connections to RabbitMQ: none of them is left open, whatever became of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from appstack_backend import broker, broker_wire
from tests.backend.test_lost_node import door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MARK = b"the broker stands still after this"
CLOSE = b"\x00\x0a\x00\x32"  # class 10, method 50: a connection's


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[broker_wire.Connection]:
    """Every connection from now on."""
    connections: list[broker_wire.Connection] = []

    class Noted(broker_wire.Connection):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            connections.append(self)

    monkeypatch.setattr(broker, "Connection", Noted)
    return connections


@pytest.fixture
async def publisher(rabbitmq: str) -> AsyncIterator[broker.Publisher]:
    publisher = broker.Publisher(rabbitmq, "test")
    yield publisher
    await publisher.close()


async def test_a_connection_whose_channel_was_closed_is_closed_too(
    publisher: broker.Publisher, made: list[broker_wire.Connection]
) -> None:
    """As RabbitMQ does with a channel on which it is asked for what cannot be."""
    assert await publisher.waiting("bulk") >= 0
    assert publisher._channel is not None
    await publisher._channel.close()
    assert await publisher.waiting("bulk") >= 0
    assert [one.is_closed for one in made] == [True, False]


async def test_a_connection_that_was_not_made_is_closed(made: list[broker_wire.Connection]) -> None:
    with pytest.raises(broker.TROUBLE):
        await broker.connect("amqp://app:secret@127.0.0.1:9/%2F", "test")
    assert [one.is_closed for one in made] == [True]


async def test_nobody_waits_long_for_a_goodbye(rabbitmq: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker stands still, and the socket is full, or whatever it is."""
    monkeypatch.setattr(broker, "CLOSE_SECONDS", 0.2)
    port = int(rabbitmq.rpartition(":")[2].partition("/")[0])
    async with door(port, last=CLOSE) as closed:
        connection = await broker.connect(rabbitmq.replace(str(port), str(closed)), "test")
        begun = time.monotonic()
        await broker.close(connection)
        assert time.monotonic() - begun < 30, "for ever, if it waited"
        assert connection.is_closed


async def test_a_broker_that_falls_silent_is_given_up_and_an_idle_one_is_not(rabbitmq: str) -> None:
    """A frozen broker breaks no connection: its kernel acknowledges what comes."""
    port = int(rabbitmq.rpartition(":")[2].partition("/")[0])
    idle = await broker.connect(rabbitmq, "idle")
    async with door(port, last=MARK) as closed:
        connection = await broker.connect(rabbitmq.replace(str(port), str(closed)), "test")
        channel, came, lost = await connection.channel(), asyncio.Event(), asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        queue = await channel.declare_queue(exclusive=True)

        async def take(_: object) -> None:
            came.set()

        await queue.consume(take, no_ack=True)
        await (await idle.channel()).default_exchange.publish(aio_pika.Message(MARK), queue.name)
        begun = time.monotonic()
        async with asyncio.timeout(30):
            await lost.wait()
        assert time.monotonic() - begun < broker_wire.SILENT_LOOKS + 3, "15 s by the library's heartbeats"
        assert not came.is_set(), "the door was shut"
        await broker.close(connection)
    await asyncio.sleep(2 * broker_wire.HEARTBEAT_SECONDS)
    assert not idle.is_closed
    await broker.close(idle)
