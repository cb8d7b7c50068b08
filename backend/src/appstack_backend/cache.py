"""The cache: aside, with one generation for the whole catalogue, and never in the way when Redis is gone.

An entry carries the generation it was read under; a write to the catalogue makes a new generation after its
commit, so an older entry is never shown again, even if a slow reader stores it late.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from appstack_backend.logs import get_logger
from appstack_backend.metrics import CACHE
from appstack_backend.settings import Settings

log = get_logger()
TROUBLE = (RedisError, OSError, TimeoutError)
GENERATION_BYTES = 32


class RedisLink:
    """A client of the current master. Any error forgets it, and keeps everybody away for a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sentinels = settings.sentinel_addresses
        self._client: redis.Redis | None = None
        self._closed_until = 0.0
        self._lock = asyncio.Lock()

    @property
    def is_configured(self) -> bool:
        return bool(self._settings.redis_sentinels or self._settings.redis_url)

    async def call(self, command: Callable[[redis.Redis], Awaitable[Any]]) -> Any:
        """The answer of Redis; None when there is none within the timeout."""
        if not self.is_configured or time.monotonic() < self._closed_until:
            return None
        try:
            async with asyncio.timeout(self._settings.redis_timeout_seconds):
                return await command(await self._connected())
        except TROUBLE as error:
            self._closed_until = time.monotonic() + self._settings.redis_breaker_seconds
            log.warning("Redis is left alone for a while", error=repr(error))
            await self.close()
            return None

    async def _connected(self) -> redis.Redis:
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

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(*TROUBLE):
                await client.aclose()


class Cache:
    """Hot reads by key."""

    def __init__(self, settings: Settings) -> None:
        self._link = RedisLink(settings)
        self._prefix = f"{settings.appstack_name}:catalogue"
        self._ttl_seconds = settings.cache_ttl_seconds
        self._loading: dict[str, asyncio.Future[bytes]] = {}

    async def get(self, key: str, load: Callable[[], Awaitable[bytes]]) -> bytes:
        """The cached bytes, or those that `load` returns; of simultaneous misses one loads for all."""
        name = f"{self._prefix}:{key}"
        generation, entry = await self._read(name)
        if generation and entry and entry[:GENERATION_BYTES] == generation:
            CACHE.labels("hit").inc()
            return entry[GENERATION_BYTES:]
        CACHE.labels("miss").inc()
        if name in self._loading:
            return await asyncio.shield(self._loading[name])
        future = self._loading[name] = asyncio.ensure_future(self._load(name, generation, load))
        future.add_done_callback(lambda _: self._loading.pop(name, None))
        return await asyncio.shield(future)

    async def invalidate(self) -> None:
        """To be called after each commit that changed the catalogue. Without Redis entries end by their TTL."""
        generation = uuid4().hex
        await self._link.call(lambda client: client.set(f"{self._prefix}:generation", generation))

    async def close(self) -> None:
        await self._link.close()

    async def _read(self, name: str) -> tuple[bytes | None, bytes | None]:
        answer = await self._link.call(lambda client: client.mget(f"{self._prefix}:generation", name))
        return (answer[0], answer[1]) if answer else (None, None)

    async def _load(self, name: str, generation: bytes | None, load: Callable[[], Awaitable[bytes]]) -> bytes:
        if generation is None:
            first = uuid4().hex
            await self._link.call(lambda client: client.set(f"{self._prefix}:generation", first, nx=True))
        value = await load()
        if generation is not None:
            entry = generation + value
            await self._link.call(lambda client: client.set(name, entry, ex=self._ttl_seconds))
        return value
