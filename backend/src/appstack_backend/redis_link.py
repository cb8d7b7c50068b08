"""The link to Redis: the current master by way of the Sentinels, and a breaker that keeps a dead one out of the way.

The first trouble opens the breaker: nobody asks Redis any more, so nobody waits for it. A task in the background
asks it now and then, and closes the breaker once it answers. Its question is the owner's greeting: what must be true
in a Redis that was away, and may have come back older than it was, before anybody reads from it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from appstack_backend.logs import get_logger
from appstack_backend.metrics import REDIS_BREAKER
from appstack_backend.settings import Settings

log = get_logger()
TROUBLE = (RedisError, OSError, TimeoutError)
BATCH = 100
Arguments = tuple[Any, ...]
Call = tuple["Script", Sequence[str], Sequence[Any]]  # with its keys and arguments


class RedisLink:
    """One connection to the current master for the whole process.

    Scripts asked for at the same time leave together: each batch is one round trip, and while it is under way the
    next one gathers. So a stampede of requests is no stampede of connections.
    """

    def __init__(self, settings: Settings, greeting: Callable[[], Call]) -> None:
        self._settings = settings
        self._greeting = greeting
        self._sentinels = settings.sentinel_addresses
        self._client: redis.Redis | None = None
        self._waiting: list[tuple[Script, Arguments, asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_configured(self) -> bool:
        return bool(self._settings.redis_sentinels or self._settings.redis_url)

    async def run(self, script: "Script", keys: Sequence[str], args: Sequence[Any]) -> Any:
        """The answer of a script; None when there is none within the timeout."""
        if not self.is_configured or self._is_closed or self._probing is not None:
            return None
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((script, (len(keys), *keys, *args), answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        """Send what waits until nothing waits; whatever fails is answered with None."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    answers = await self._answers(batch)
            except TROUBLE as error:
                answers = [None] * len(batch)
                await self._open_breaker(error)
                batch, self._waiting = batch + self._waiting, []
            for _, _, future in batch:
                if not future.done():
                    future.set_result(answers.pop(0) if answers else None)
        self._sending = None

    async def _answers(self, batch: "list[tuple[Script, Arguments, asyncio.Future[Any]]]") -> list[Any]:
        """One round trip; a second one for a server that does not know a script yet."""
        client = await self._connected()
        for _ in range(2):
            pipeline = client.pipeline(transaction=False)
            for script, arguments, _future in batch:
                pipeline.evalsha(script.sha, *arguments)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            if not any(isinstance(answer, NoScriptError) for answer in answers):
                break
            for script in {script for script, _, _ in batch}:
                await client.script_load(script.text)
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return answers

    async def close(self) -> None:
        self._is_closed = True
        if self._sending is not None:
            await self._sending
        if self._probing is not None:
            self._probing.cancel()
        await self._forget()

    async def _open_breaker(self, error: BaseException) -> None:
        if self._probing is None and not self._is_closed:
            REDIS_BREAKER.set(1)
            log.warning("Redis is left alone for a while", error=repr(error))
            self._probing = asyncio.create_task(self._probe())
        await self._forget()

    async def _probe(self) -> None:
        """Greet until there is an answer."""
        while True:
            await asyncio.sleep(self._settings.redis_breaker_seconds)
            with suppress(*TROUBLE):
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    script, keys, args = self._greeting()
                    answer = asyncio.get_running_loop().create_future()
                    await self._answers([(script, (len(keys), *keys, *args), answer)])
                self._probing = None
                REDIS_BREAKER.set(0)
                log.info("Redis answers again")
                return
            await self._forget()

    async def _connected(self) -> redis.Redis:
        if self._client is None:
            self._client = await self._discover()
        return self._client

    async def _discover(self) -> redis.Redis:
        """Ask the Sentinels who is master; without Sentinels use the URL."""
        settings = self._settings
        if not settings.redis_sentinels:
            return redis.Redis.from_url(settings.redis_url, **self._options())
        for _ in range(len(self._sentinels)):
            # Whoever does not answer is asked last the next time.
            host, port = address = self._sentinels.pop(0)
            self._sentinels.append(address)
            sentinel = redis.Redis(host=host, port=port, password=settings.redis_password or None, **self._options())
            with suppress(*TROUBLE):
                master = await sentinel.execute_command(  # type: ignore[no-untyped-call]
                    "SENTINEL GET-MASTER-ADDR-BY-NAME", settings.redis_sentinel_master
                )
                if master:
                    self._sentinels.insert(0, self._sentinels.pop())
                    password = settings.redis_password or None
                    return redis.Redis(host=master[0], port=int(master[1]), password=password, **self._options())
            with suppress(*TROUBLE):
                await sentinel.aclose()
        raise redis.ConnectionError("no Sentinel names a master")

    def _options(self) -> dict[str, Any]:
        # No retries inside: the library's own go on asking a master that is gone.
        timeout = self._settings.redis_timeout_seconds
        return {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
        }

    async def _forget(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(*TROUBLE):
                await client.aclose()


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
