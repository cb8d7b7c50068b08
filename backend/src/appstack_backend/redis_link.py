"""The link to Redis: the current master by way of the Sentinels, and a breaker that keeps a dead one out of the way.

The first trouble opens the breaker: nobody asks Redis any more, so nobody waits for it. A task in the background
asks it now and then, and closes the breaker once it answers.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
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


class RedisLink:
    """A client of the current master, shared by the whole process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sentinels = settings.sentinel_addresses
        self._client: redis.Redis | None = None
        self._lock = asyncio.Lock()
        self._probing: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_configured(self) -> bool:
        return bool(self._settings.redis_sentinels or self._settings.redis_url)

    async def run(self, script: "Script", keys: Sequence[str], args: Sequence[Any]) -> Any:
        """The answer of a script in one round trip; None when there is none within the timeout."""
        if not self.is_configured or self._probing is not None:
            return None
        try:
            async with asyncio.timeout(self._settings.redis_timeout_seconds):
                return await script.run(await self._connected(), keys, args)
        except TROUBLE as error:
            await self._open_breaker(error)
            return None

    async def close(self) -> None:
        self._is_closed = True
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
        """Ask until there is an answer."""
        while True:
            await asyncio.sleep(self._settings.redis_breaker_seconds)
            with suppress(*TROUBLE):
                async with asyncio.timeout(self._settings.redis_timeout_seconds):
                    await (await self._connected()).ping()
                self._probing = None
                REDIS_BREAKER.set(0)
                log.info("Redis answers again")
                return
            await self._forget()

    async def _connected(self) -> redis.Redis:
        if self._client is None:
            async with self._lock:
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


class Script:
    """A Lua script, sent by its hash; a server that does not know it is told once."""

    def __init__(self, text: str) -> None:
        self._text, self._sha = text, ""

    async def run(self, client: redis.Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        parameters = (len(keys), *keys, *args)
        try:
            if self._sha:
                return await client.evalsha(self._sha, *parameters)
        except NoScriptError:
            pass
        self._sha = await client.script_load(self._text)
        return await client.evalsha(self._sha, *parameters)
