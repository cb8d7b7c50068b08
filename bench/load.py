"""A small HTTP/1.1 load generator: some connections, each with one request at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Target:
    """What is asked: request number n of a connection."""

    port: int
    path: Callable[[int], str]
    token: str = ""

    def request(self, number: int) -> bytes:
        authorization = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return f"GET {self.path(number)} HTTP/1.1\r\nHost: bench\r\n{authorization}\r\n".encode()


class Client(asyncio.Protocol):
    """One connection; reads just enough of HTTP to see where an answer ends."""

    def __init__(self, target: Target, first: int) -> None:
        self._target, self._number = target, first
        self._buffer = b""
        self.answers = 0
        self.problem = ""
        self._is_stopped = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._transport.write(self._target.request(self._number))
        self._number += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, gap, body = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        if len(body) < int(lower[at:].split(b"\r\n", 1)[0]):
            return
        if b" 200" not in head[:15]:
            self.problem = self._buffer[:400].decode(errors="replace")
        self.answers += 1
        self._buffer = b""
        if self._is_stopped or self.problem:
            self._transport.close()
        else:
            self._send()

    def stop(self) -> None:
        self._is_stopped = True

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _load(target: Target, seconds: float, connections: int) -> float:
    loop = asyncio.get_running_loop()
    clients = []
    began = time.monotonic()
    for number in range(connections):
        _, client = await loop.create_connection(partial(Client, target, number * 100_003), "127.0.0.1", target.port)
        clients.append(client)
    await asyncio.sleep(seconds)
    for client in clients:
        client.stop()
    await asyncio.wait_for(asyncio.gather(*(client.ended for client in clients)), 60)
    took = time.monotonic() - began
    problems = [client.problem for client in clients if client.problem]
    if problems:
        raise RuntimeError(f"an answer was not 200: {problems[0]}")
    return sum(client.answers for client in clients) / took


def load(target: Target, seconds: float, connections: int = 16) -> float:
    """Requests per second."""
    return asyncio.run(_load(target, seconds, connections))
