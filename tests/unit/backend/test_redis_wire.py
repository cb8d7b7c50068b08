"""Answers of Redis reach who asked, also after somebody asked for nonsense."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio as redis

from appstack_backend.redis_wire import Wire


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that has one answer to every command of one word."""
    while await reader.readline():
        await reader.readline()
        writer.write(b"+" + await reader.readline())
    writer.close()


async def test_what_cannot_be_packed_takes_nobody_elses_answer() -> None:
    nonsense: Any = object()
    async with await asyncio.start_server(pong, "127.0.0.1", 0) as server:
        address = redis.Connection(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        wire = await Wire.connect(address, 2.0, lambda _: None)
        with pytest.raises(Exception, match="must be str"):
            wire.ask("SET", "a", nonsense)
        assert await wire.ask("PING") == b"PING"
        wire.close()
