"""The cache: one load for a stampede, no stale value after a write, and no Redis that slows anything down."""

from __future__ import annotations

import asyncio
import socket
import statistics
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis.asyncio as redis_client

from appstack_backend import cache as module
from appstack_backend.cache import NO_LSN, UNKNOWN, Cache
from appstack_backend.settings import Settings
from tests.backend.kit.impostor import impostor
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.backend.kit.processes import Backend

THING = {"name": "Thing", "price": "1", "currency": "EUR"}
AIM_SECONDS = 0.005
AT_ONCE: dict[str, Any] = {"replica_most_stale_seconds": 1e-9}  # what a new connection says is believed at once
Pair = tuple[Cache, Cache]


@pytest.fixture
async def caches(redis: dict[str, str]) -> AsyncIterator[Pair]:
    """The caches of two processes of one stack."""
    name = uuid4().hex
    values = {key.lower(): value for key, value in redis.items()}
    pair = [Cache(patient(appstack_name=name, **AT_ONCE, **values)) for _ in range(2)]
    for cache in pair:
        await cache.remember(NO_LSN, catalogue=True)  # both are connected, and have greeted
    yield pair[0], pair[1]
    for cache in pair:
        await cache.close()


def patient(**values: Any) -> Settings:
    """Settings under which a busy machine is not taken for a dead Redis."""
    return Settings(database_url="x", redis_timeout_seconds=30, **values)


class Source:
    """What is loaded, and how often; a load may be held."""

    def __init__(self, value: bytes) -> None:
        self.value, self.loads = value, 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def load(self, needed_lsn: str | None) -> bytes:
        value = self.value  # read first, answered later
        self.loads += 1
        await self.may_answer.wait()
        return value


async def get(cache: Cache, source: Source, key: str = "k") -> bytes:
    return await cache.get(key, await cache.look("caller", key), source.load)


async def test_a_thousand_misses_at_once_load_once_in_each_process(caches: Pair) -> None:
    source = Source(b"value")
    answers = await asyncio.gather(*(get(cache, source) for cache in caches for _ in range(1_000)))
    assert set(answers) == {b"value"}
    assert source.loads == 2
    assert await get(caches[0], source) == b"value"
    assert source.loads == 2


async def test_a_thousand_misses_without_redis_load_once() -> None:
    cache, source = Cache(patient()), Source(b"value")
    answers = await asyncio.gather(*(cache.get("k", UNKNOWN, source.load) for _ in range(1_000)))
    assert (set(answers), source.loads) == ({b"value"}, 1)


async def test_an_absent_value_is_remembered_too(caches: Pair) -> None:
    source = Source(b"")
    assert [await get(cache, source) for cache in caches] == [b"", b""]
    assert source.loads == 1


async def test_a_slow_reader_never_brings_back_what_was_before_a_write(caches: Pair) -> None:
    writer, reader = caches
    source = Source(b"old")
    source.may_answer.clear()
    slow = asyncio.create_task(get(reader, source))
    while not source.loads:  # noqa: ASYNC110
        await asyncio.sleep(0)
    source.value = b"new"  # the commit
    await writer.remember(NO_LSN, catalogue=True)
    quick = asyncio.create_task(get(reader, source))  # must not join the load that began before the commit
    source.may_answer.set()
    assert (await slow, await quick) == (b"old", b"new")
    source.value = b"newer, but not told"
    assert [await get(cache, source) for cache in caches] == [b"new", b"new"]


async def test_generations_and_sessions_never_go_back(caches: Pair) -> None:
    first, second = caches
    await first.remember("00000000000000FF", "caller", catalogue=True)
    await second.remember("00000000000000AA", "caller", catalogue=True)
    look = await first.look("caller", "k")
    assert (look.session_lsn, look.needed_lsn) == ("00000000000000FF", "00000000000000FF")
    assert (await first.look("another", "k")).needed_lsn == "00000000000000FF"


async def test_a_position_that_was_lost_with_its_database_is_needed_for_a_while_only(
    redis: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore nobody has it: who waits for it would be served by the primary for ever."""
    monkeypatch.setattr(module, "COUNTS_SECONDS", 10)
    values: dict[str, Any] = {key.lower(): value for key, value in redis.items()} | {"appstack_name": uuid4().hex}
    caches = [Cache(patient(**AT_ONCE, **values)) for _ in range(2)]
    writer, reader = caches
    await writer.remember("00000000000000FF", "caller", catalogue=True)
    assert (await reader.look("caller", "k")).needed_lsn == "00000000000000FF"
    await writer.remember("0000000000000011", "caller", catalogue=True)  # restored, and written to
    assert (await reader.look("caller", "k")).needed_lsn == "00000000000000FF", "or another process was quicker"
    await asyncio.sleep(10.5)
    assert (await reader.look("caller", "k")).needed_lsn == NO_LSN, "no replica that is read is as old"
    await writer.remember("0000000000000022", "caller", catalogue=True)
    look = await reader.look("caller", "k")
    assert (look.session_lsn, look.needed_lsn) == ("0000000000000022", "0000000000000022")
    assert (await reader.look("another", "k")).needed_lsn == "0000000000000022"
    third = Cache(patient(**AT_ONCE, **values))  # whose connection makes a new generation
    assert (await third.look("another", "k")).needed_lsn == "0000000000000022"
    for cache in (*caches, third):
        await cache.close()


async def test_a_generation_of_older_code_is_believed(redis: dict[str, str]) -> None:
    """It has a random text where ours says when its position was told."""
    values: dict[str, Any] = {key.lower(): value for key, value in redis.items()} | {"appstack_name": uuid4().hex}
    cache, plain = Cache(patient(**AT_ONCE, **values)), redis_client.from_url(redis["REDIS_URL"])
    await cache.look("caller")
    for moment in ("000000000000", "ffffffffffff"):
        await plain.set(f"{values['appstack_name']}:catalogue:generation", f"00000000000000FF{moment}{'0' * 20}")
        assert (await cache.look("caller", "k")).needed_lsn == "00000000000000FF"
        await cache.remember("0000000000000011", catalogue=True)
        assert (await cache.look("caller", "k")).needed_lsn == "00000000000000FF"
    await plain.aclose()
    await cache.close()


class Wire:
    """A network between a process and Redis that can be cut and mended."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, far_writer]
        self._tasks = [asyncio.create_task(pump(*pair)) for pair in ((reader, far_writer), (far_reader, writer))]


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def test_a_write_that_redis_was_not_told_of_is_made_up_for_when_it_answers_again(redis: dict[str, str]) -> None:
    address = redis["REDIS_URL"].rpartition("/")[0]
    wire = Wire(int(address.rpartition(":")[2]))
    await wire.mend()
    name = uuid4().hex
    apart: dict[str, Any] = {
        "redis_url": f"redis://:{redis['REDIS_PASSWORD']}@127.0.0.1:{wire.port}/0",
        "redis_breaker_seconds": 0.05,
    }
    writer = Cache(patient(appstack_name=name, **apart))
    forever = {"cache_ttl_seconds": 3600, "replica_most_stale_seconds": 1e-9}
    reader = Cache(patient(appstack_name=name, redis_url=redis["REDIS_URL"], **forever))
    source = Source(b"old")
    await writer.remember("00000000000000AA", catalogue=True)
    assert await get(reader, source) == b"old"
    await wire.cut()
    source.value = b"new"  # the commit
    await writer.remember("00000000000000FF", catalogue=True)
    assert await get(reader, source) == b"old", "nobody could know"
    await wire.mend()
    async with asyncio.timeout(120):
        while await get(reader, source) != b"new":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await reader.look("caller")).needed_lsn == "00000000000000FF"
    for cache in (writer, reader):
        await cache.close()
    await wire.cut()


async def test_a_limit_is_shared_by_all_processes_and_by_token(redis: dict[str, str]) -> None:
    values: dict[str, Any] = {key.lower(): value for key, value in redis.items()} | {
        "rate_limit_per_second": 0.001,  # no busy machine takes so long that there is another one
        "rate_limit_burst": 10,
        "appstack_name": uuid4().hex,
    }
    caches = [Cache(patient(**values)) for _ in range(2)]
    waits = [(await caches[n % 2].look("caller")).wait_seconds for n in range(12)]
    assert [bool(wait) for wait in waits] == [False] * 10 + [True] * 2
    assert 0 < waits[-1] <= 1_000
    assert not (await caches[0].look("another")).wait_seconds
    for cache in caches:
        await cache.close()


async def test_guesses_at_once_make_nobody_wait_longer_than_for_one(redis: dict[str, str]) -> None:
    """As many as there were on their way before the first one was counted."""
    values: dict[str, Any] = {key.lower(): value for key, value in redis.items()}
    cache = Cache(patient(appstack_name=uuid4().hex, auth_failures_per_minute=1, **values))
    await asyncio.gather(*(cache.attempts("192.0.2.1", failed=True) for _ in range(100)))
    assert 0 < await cache.attempts("192.0.2.1") <= 60
    await cache.close()


GENERATION = b"0" * 48
SHAPES = {
    "an entry of another kind": b"*3\r\n:0\r\n*3\r\n$-1\r\n$48\r\n%b\r\n:7\r\n:1\r\n" % GENERATION,
    "a list for an entry": b"*3\r\n:0\r\n*3\r\n$-1\r\n$48\r\n%b\r\n*1\r\n:7\r\n:1\r\n" % GENERATION,
    "a session that is no position": b"*3\r\n:0\r\n*3\r\n$16\r\nSELECT 1; SELECT\r\n$48\r\n%b\r\n$-1\r\n:1\r\n"
    % GENERATION,
    "a generation that is no text": b"*3\r\n:0\r\n*3\r\n$-1\r\n$48\r\n%b\r\n$-1\r\n:1\r\n" % (b"\xff" * 48),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_redis_never_says_is_not_believed(shape: str) -> None:
    """Wherever it is used, as a cached answer or as a position of PostgreSQL's: the database serves."""
    with impostor(9) as service:
        service.tell((b":1\r\n", *(SHAPES[shape],) * 9))
        cache, source = Cache(patient(redis_url=f"redis://127.0.0.1:{service.port}/0", **AT_ONCE)), Source(b"true")
        look = await cache.look("caller", "k")
        assert look.needed_lsn is None, "the primary serves"
        assert await cache.get("k", look, source.load) == b"true"
        await cache.close()


async def test_a_raised_limit_lets_a_caller_in_at_once(redis: dict[str, str]) -> None:
    """Whatever the bucket says that was filled under the old limit, or by a clock that was fast."""
    values: dict[str, Any] = {key.lower(): value for key, value in redis.items()} | {"appstack_name": uuid4().hex}
    low = Cache(patient(rate_limit_per_second=0.01, rate_limit_burst=10, **values))
    assert [bool((await low.look("caller")).wait_seconds) for _ in range(11)] == [False] * 10 + [True]
    high = Cache(patient(rate_limit_per_second=10, rate_limit_burst=20, **values))
    assert (await high.look("caller")).wait_seconds <= 0.1
    await asyncio.sleep(0.2)
    assert not (await high.look("caller")).wait_seconds
    for cache in (low, high):
        await cache.close()


async def test_a_limit_of_zero_is_none(redis: dict[str, str]) -> None:
    values: dict[str, Any] = {key.lower(): value for key, value in redis.items()}
    cache = Cache(patient(rate_limit_per_second=0, rate_limit_burst=1, **values))
    assert not any([(await cache.look("caller")).wait_seconds for _ in range(20)])
    await cache.close()


class Swallowing:
    """A Redis behind a network that loses every packet: it takes connections and never answers."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0"


@pytest.mark.parametrize("kind", ["refusing", "swallowing"])
def test_a_redis_that_is_dead_adds_next_to_nothing(backend: Backend, kind: str) -> None:
    swallowing = Swallowing()
    url = swallowing.url if kind == "swallowing" else "redis://127.0.0.1:9/0"
    without = {"REDIS_SENTINELS": "", "REDIS_SENTINEL_MASTER": ""}
    backend.start_api(**without, REDIS_URL="")
    plain = backend.client().http
    process = backend.start_api(**without, REDIS_URL=url, REDIS_BREAKER_SECONDS="0.5", REDIS_TIMEOUT_SECONDS="0.1")
    dead = backend.client().http
    assert plain.put("/v1/products/A", json=THING).is_success
    dead.get("/v1/products/A")
    wait_until(lambda: process.metrics()["appstack_redis_breaker_open"] == 1, "the breaker is open")
    times: dict[str, list[float]] = {"plain": [], "dead": []}
    for _ in range(150):
        for name, http in (("plain", plain), ("dead", dead)):
            answer = http.get("/v1/products/A")
            assert answer.is_success
            times[name].append(answer.elapsed.total_seconds())
    added = statistics.median(times["dead"]) - statistics.median(times["plain"])
    assert added < 5 * AIM_SECONDS, f"{added * 1000:.1f} ms"
    assert process.metrics()["appstack_redis_breaker_open"] == 1
    swallowing.listener.close()
