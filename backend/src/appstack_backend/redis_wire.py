"""One connection to Redis: commands leave as they come, answers are read in their order.

What is asked in one turn of the event loop leaves in one packet, and nobody waits for an answer before the next one
asks: a stampede of requests is no stampede of round trips. (redis-py's client takes a connection of its own, a task and
several timers for each; it still reads our addresses and knows TLS.)
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Self, cast

import hiredis
import redis.asyncio as redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import RedisError, ResponseError

TROUBLE = (RedisError, OSError, TimeoutError, hiredis.HiredisError)


class Wire(asyncio.Protocol):
    """Commands and answers of one connection. Whatever goes wrong with it ends it, and all who wait are told."""

    def __init__(self, timeout_seconds: float, on_end: Callable[[Exception], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_seconds, self._on_end = timeout_seconds, on_end
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._leaving: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._end: Exception | None = None

    @classmethod
    async def connect(
        cls, address: redis.Connection, timeout_seconds: float, on_end: Callable[[Exception], None]
    ) -> Self:
        """An authenticated connection, within the timeout. Raises one of TROUBLE."""
        tls = getattr(address, "ssl_context", None)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_seconds):
            _, wire = await loop.create_connection(
                lambda: cls(timeout_seconds, on_end), address.host, address.port, ssl=tls.get() if tls else None
            )
            try:
                if address.password:
                    names = [address.username] if address.username else []
                    await wire.ask("AUTH", *names, address.password)
                if address.db:
                    await wire.ask("SELECT", address.db)
            except BaseException:
                wire.close()
                raise
        return wire

    def ask(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """The answer to one command; the future raises one of TROUBLE."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._end is not None:
            answer.set_exception(self._end)
            return answer
        packed = hiredis.pack_command(cast("Any", command))  # first: what cannot be packed gets no answer
        self._waiting.append((self._loop.time() + self._timeout_seconds, answer))
        if not self._leaving:
            self._loop.call_soon(self._flush)
        self._leaving.append(packed)
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_seconds, self._look_at_clock)
        return answer

    def close(self, error: Exception | None = None) -> None:
        """End it; who waits for an answer does not get one."""
        if self._end is not None:
            return
        self._end = error or RedisGone("the connection is closed")
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            self._settle(self._end)
        self._on_end(self._end)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not False:
                self._settle(ResponseError(str(answer)) if isinstance(answer, hiredis.ReplyError) else answer)
        except (hiredis.HiredisError, IndexError) as error:  # no RESP, or an answer that nobody asked for
            self.close(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.close(error or RedisGone("Redis closed the connection"))

    def _settle(self, answer: Any) -> None:
        _, waiting = self._waiting.popleft()
        if waiting.done():  # whoever asked went away
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _flush(self) -> None:
        commands, self._leaving = self._leaving, []
        if self._transport is not None and self._end is None:
            self._transport.write(b"".join(commands))

    def _look_at_clock(self) -> None:
        """One timer for all: it looks at the oldest question."""
        self._watch = None
        if not self._waiting:
            return
        deadline = self._waiting[0][0]
        if self._loop.time() >= deadline:
            self.close(TimeoutError("Redis did not answer in time"))
        else:
            self._watch = self._loop.call_at(deadline, self._look_at_clock)


def address_of(url: str) -> redis.Connection:
    """Where a `redis://` or `rediss://` URL leads: a connection of redis-py that is never opened."""
    options: dict[str, Any] = {**redis.connection.parse_url(url)}
    kind: Any = options.pop("connection_class", redis.Connection)
    return cast("redis.Connection", kind(**options))
