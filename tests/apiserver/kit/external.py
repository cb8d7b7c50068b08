"""A Redis and a RabbitMQ of somebody else, as far as the operator asks them: they let everybody in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from pamqp import commands, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REDIS_PORT, AMQP_PORT = 6379, 5672
MASTER = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
GONE = (asyncio.IncompleteReadError, ConnectionError)


def external_secrets(address: str) -> dict[str, dict[str, str]]:
    """Secret -> its data, for a spec that binds Redis and RabbitMQ as External."""
    return {
        "our-redis": {"REDIS_URL": f"redis://{address}:{REDIS_PORT}/0"},
        "our-rabbitmq": {"RABBITMQ_URL": f"amqp://app:app@{address}:{AMQP_PORT}/%2F"},
    }


@asynccontextmanager
async def external_services(address: str) -> AsyncIterator[None]:
    """Both, for as long as the block runs."""
    redis = await asyncio.start_server(answer_redis, address, REDIS_PORT)
    broker = await asyncio.start_server(answer_amqp, address, AMQP_PORT)
    async with redis, broker:
        yield


async def answer_redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every command is answered with OK; PING and ROLE as a master does."""
    answers = {b"PING": b"+PONG\r\n", b"ROLE": MASTER}
    with suppress(*GONE):
        while True:
            count = int((await reader.readuntil(b"\r\n"))[1:])
            words = []
            for _ in range(count):
                length = int((await reader.readuntil(b"\r\n"))[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            writer.write(answers.get(words[0].upper(), b"+OK\r\n"))
            await writer.drain()
    writer.close()


async def answer_amqp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The handshake of AMQP 0-9-1, then nothing until the client says goodbye."""
    answers = {
        commands.Connection.StartOk: commands.Connection.Tune(2047, 131072, 60),
        commands.Connection.Open: commands.Connection.OpenOk(),
        commands.Connection.Close: commands.Connection.CloseOk(),
    }

    def say(command: Any) -> None:
        writer.write(frame.marshal(command, 0))

    with suppress(*GONE):
        await reader.readexactly(8)
        say(commands.Connection.Start(server_properties={"product": "RabbitMQ"}, mechanisms="PLAIN", locales="en_US"))
        while True:
            head = await reader.readexactly(7)
            rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
            _, _, heard = frame.unmarshal(head + rest)
            if type(heard) in answers:
                say(answers[type(heard)])
                await writer.drain()
    writer.close()
