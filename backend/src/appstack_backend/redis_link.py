"""The link to Redis: the current master by way of the Sentinels, and a breaker that keeps a dead one out of the way.

Each new connection begins with the owner's greeting: what must be true in a Redis that may be older than it was (a
restart, another master) before anybody reads from it. The first trouble opens the breaker: nobody asks Redis any more,
so nobody waits for it. A task in the background looks for it, and closes the breaker once it has been greeted. While
all is well the same task asks every now and then whether this is still the master: an idle process notices a failover
as a busy one does.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import ResponseError

from appstack_backend.logs import get_logger
from appstack_backend.metrics import REDIS_BREAKER
from appstack_backend.redis_wire import TROUBLE, Wire, address_of
from appstack_backend.settings import Settings

log = get_logger()
T = TypeVar("T")
FIRST_PAUSE_SECONDS = 0.05
Call = tuple["Script", Sequence[str], Sequence[Any]]  # with its keys and arguments


class RedisLink:
    """One connection to the current master for the whole process."""

    def __init__(self, settings: Settings, greeting: Callable[[], Call]) -> None:
        self._settings, self._greeting = settings, greeting
        self._sentinels = settings.sentinel_addresses
        self._wire: Wire | None = None
        self._address: tuple[str, int] | None = None  # of the master that the Sentinels named
        self._first: asyncio.Task[None] | None = None  # the first attempt; everybody waits for its end
        self._keeping: asyncio.Task[None] | None = None
        self._lost, self._greeted = asyncio.Event(), asyncio.Event()
        self._lost_at = 0.0
        self.greeted_at = 0.0  # on the event loop's clock
        self._is_closed = False

    @property
    def is_configured(self) -> bool:
        return bool(self._settings.redis_sentinels or self._settings.redis_url)

    async def run(
        self, script: "Script", keys: Sequence[str], args: Sequence[Any], read: Callable[[Any], T]
    ) -> T | None:
        """What `read` makes of a script's answer; None when there is none within the timeout, or none of its shape."""
        if self._first is None or not self._first.done():
            await self._begin()
        wire = self._wire
        if wire is None:
            return None
        try:
            try:
                answer = await wire.ask("EVALSHA", script.sha, len(keys), *keys, *args)
            except ResponseError as error:
                if not str(error).startswith("NOSCRIPT"):
                    raise
                answer = await wire.ask("EVAL", script.text, len(keys), *keys, *args)
            with sensible():
                return read(answer)
        except TROUBLE as error:
            self._give_up(wire, error)
            return None

    async def greeted(self) -> None:
        """Wait until a new connection has been greeted; not for long, and not at all if the link was lost long ago."""
        if self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._lost_at + self._settings.redis_patience_seconds):
                    await self._greeted.wait()

    async def close(self) -> None:
        self._is_closed = True
        for task in (self._first, self._keeping):
            if task is not None:
                task.cancel()
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    async def _begin(self) -> None:
        """Connect for the first time, once for all who ask."""
        if not self.is_configured or self._is_closed:
            return
        if self._first is None:
            self._first = asyncio.create_task(self._try_first())
            self._keeping = asyncio.create_task(self._keep())
        await asyncio.wait([self._first])

    async def _try_first(self) -> None:
        try:
            await self._connect()
        except TROUBLE as error:
            self._give_up(None, error)

    def _give_up(self, wire: Wire | None, error: Exception) -> None:
        """Open the breaker, unless it was another connection that failed."""
        if self._is_closed or wire is not self._wire or self._lost.is_set():
            return
        self._wire = None
        self._lost.set()
        self._greeted.clear()
        self._lost_at = asyncio.get_running_loop().time()
        REDIS_BREAKER.set(1)
        log.warning("Redis is left alone for a while", error=repr(error))
        if wire is not None:
            wire.close()

    async def _keep(self) -> None:
        """Look for Redis while the breaker is open, and at the connection while it is closed, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.redis_watch_seconds):
                    await self._lost.wait()
            if not self._lost.is_set():
                await self._look_at_master()
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._settings.redis_breaker_seconds)
            with suppress(*TROUBLE):
                await self._connect()
                self._lost.clear()
                pause = FIRST_PAUSE_SECONDS
                REDIS_BREAKER.set(0)
                log.info("Redis answers again")

    async def _look_at_master(self) -> None:
        """A connection to a server that is master no more is trouble."""
        if (wire := self._wire) is None:
            return
        try:
            with suppress(ResponseError):  # a user that may not ask
                with sensible():
                    role = (await wire.ask("ROLE"))[0].decode()
                if role != "master":
                    raise Moved(f"this server is a {role} now")
            if self._sentinels:
                with suppress(*TROUBLE):  # Sentinels that do not answer are no news
                    named = await self._master()
                    if named != self._address:
                        raise Moved(f"the master is {named[0]}:{named[1]} now")
        except (Moved, *TROUBLE) as error:
            self._give_up(wire, error)

    async def _connect(self) -> None:
        """Connect to the master and greet it."""
        address = await self._find()
        ended: list[Exception] = []
        made: list[Wire] = []

        def on_end(error: Exception) -> None:
            ended.append(error)
            if made:
                self._give_up(made[0], error)

        with sensible():  # a Sentinel may have named a host or a port that there cannot be
            wire = await Wire.connect(address, self._settings.redis_timeout_seconds, on_end)
        script, keys, args = self._greeting()
        try:
            await wire.ask("EVAL", script.text, len(keys), *keys, *args)
        except BaseException:
            wire.close()
            raise
        if ended:
            raise ended[0]
        made.append(wire)
        self._wire = wire
        self.greeted_at = asyncio.get_running_loop().time()
        self._greeted.set()

    async def _find(self) -> redis.Connection:
        """The master's address, by the Sentinels where there are some."""
        settings = self._settings
        try:
            if not settings.redis_sentinels:
                return address_of(settings.redis_url)
            self._address = host, port = await self._master()
            return redis.Connection(host=host, port=port, password=settings.redis_password or None)
        except ValueError as error:
            raise RedisGone(f"the address of Redis is not valid: {error}") from error

    async def _master(self) -> tuple[str, int]:
        """Ask the Sentinels who is master."""
        settings = self._settings
        for _ in range(len(self._sentinels)):
            # Whoever does not answer is asked last the next time.
            host, port = address = self._sentinels.pop(0)
            self._sentinels.append(address)
            there = redis.Connection(host=host, port=port, password=settings.redis_password or None)
            with suppress(*TROUBLE):
                wire = await Wire.connect(there, settings.redis_timeout_seconds, lambda _: None)
                try:
                    named = await wire.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", settings.redis_sentinel_master)
                finally:
                    wire.close()
                if named:
                    with sensible():
                        master = named[0].decode(), int(named[1])
                    self._sentinels.insert(0, self._sentinels.pop())
                    return master
        raise RedisGone("no Sentinel names a master")


@contextmanager
def sensible() -> Iterator[None]:
    """Whoever answers in a shape that Redis never does is no Redis: that is trouble like any other."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise RedisGone(f"an answer that makes no sense: {error!r}") from error


class Moved(Exception):
    """Another server is master."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, sent by its hash."""

    text: str

    @property
    def sha(self) -> str:
        return sha_of(self.text)


@cache
def sha_of(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
