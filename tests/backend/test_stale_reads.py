"""No read is answered with what was before a write that is told, whatever Redis lost in the meantime."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis.asyncio as redis_client
from redis import Redis

from appstack_backend.cache import NO_LSN, Cache
from appstack_backend.database import Database
from appstack_backend.imports.apply import ChunkRef, apply_chunk
from appstack_backend.settings import Settings
from tests.backend.kit import feeds, servers
from tests.backend.kit.processes import wait_until
from tests.backend.test_cache import Source, Wire, get
from tests.backend.test_queries import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.backend.kit.processes import Backend

THING = {"name": "old", "price": "1", "currency": "EUR"}
FOR_EVER = {"CACHE_TTL_SECONDS": "3600"}
WITHOUT_SENTINELS = {"redis_sentinels": "", "redis_sentinel_master": ""}


@pytest.fixture
def redis(redis: dict[str, str]) -> dict[str, str]:
    """The shared servers, with the URL of who is their master now: tests before these may have had a failover."""
    host, _, port = redis["REDIS_SENTINELS"].split(",")[0].partition(":")
    with Redis(host, int(port), password=redis["REDIS_PASSWORD"], decode_responses=True) as sentinel:
        ip, at = sentinel.sentinel_get_master_addr_by_name(redis["REDIS_SENTINEL_MASTER"])
    return {**redis, "REDIS_URL": f"redis://:{redis['REDIS_PASSWORD']}@{ip}:{at}/0"}


@pytest.fixture
async def cache(redis: dict[str, str]) -> AsyncIterator[Callable[..., Cache]]:
    """Makes caches of processes of one stack; settings come as keyword arguments."""
    name, made = uuid4().hex, []

    def make(**values: Any) -> Cache:
        common = {key.lower(): value for key, value in redis.items()} | {
            "appstack_name": name,
            "cache_ttl_seconds": 3_600,
            "redis_timeout_seconds": 30,
            "redis_patience_seconds": 60,
        }
        made.append(Cache(Settings(database_url="x", **{**common, **values})))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def greet(*caches: Cache) -> None:
    """Let each connect."""
    for one in caches:
        await one.remember(NO_LSN, catalogue=True)


async def is_known_again(one: Cache) -> None:
    async with asyncio.timeout(120):
        while not (await one.look("caller")).is_known:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_redis_that_came_back_older_is_not_believed(cache: Callable[..., Cache], redis: dict[str, str]) -> None:
    """As a server does that restarts from its last file, or a replica that had not got everything."""
    writer, reader = cache(**WITHOUT_SENTINELS), cache(**WITHOUT_SENTINELS)
    await greet(writer, reader)
    source = Source(b"old")
    assert [await get(reader, source) for _ in range(2)] == [b"old"] * 2
    assert source.loads == 1
    async with redis_client.Redis.from_url(redis["REDIS_URL"]) as raw:
        keys = [key async for key in raw.scan_iter("*:catalogue:*", 1_000)]
        before = {key: await raw.dump(key) for key in keys}
        source.value = b"new"  # the commit
        await writer.remember(NO_LSN, catalogue=True)
        assert await get(reader, source) == b"new"
        for key, value in before.items():
            await raw.restore(key, 0, value or b"", replace=True)
        await raw.client_kill_filter(_type="normal", skipme=True)
    assert {await get(reader, source) for _ in range(20)} == {b"new"}
    await is_known_again(reader)
    assert {await get(reader, source) for _ in range(20)} == {b"new"}


async def test_a_write_is_told_only_when_redis_knows_of_it(cache: Callable[..., Cache], redis: dict[str, str]) -> None:
    """The answer to the invalidation was lost on its way: other processes may be served by Redis all the while."""
    wire = Wire(int(redis["REDIS_URL"].rpartition("/")[0].rpartition(":")[2]))
    await wire.mend()
    apart = f"redis://:{redis['REDIS_PASSWORD']}@127.0.0.1:{wire.port}/0"
    writer, reader = cache(**WITHOUT_SENTINELS, redis_url=apart), cache()
    await greet(writer, reader)
    source = Source(b"old")
    assert await get(reader, source) == b"old"
    await wire.cut()
    source.value = b"new"  # the commit
    telling = asyncio.create_task(writer.remember(NO_LSN, catalogue=True))
    while (await writer.look("caller")).is_known:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert not telling.done()
    await wire.mend()
    await telling
    assert await get(reader, source) == b"new"
    await wire.cut()


async def test_a_write_is_told_without_a_redis_that_stays_away(cache: Callable[..., Cache]) -> None:
    writer = cache(**WITHOUT_SENTINELS, redis_url="redis://127.0.0.1:9/0", redis_patience_seconds=0.2)
    began = asyncio.get_running_loop().time()
    for _ in range(50):
        await writer.remember(NO_LSN, catalogue=True)
    assert asyncio.get_running_loop().time() - began < 5, "only the first ones waited: all together would have for ten"


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Redis with Sentinels that may be broken."""
    with servers.redis(tmp_path / "redis", down_after_seconds=3) as environment:
        yield environment


async def test_what_a_failover_lost_is_not_read_from_the_new_master(
    cache: Callable[..., Cache], fragile: dict[str, str]
) -> None:
    """The master acknowledged an invalidation, and died before its replica had got it."""
    values: dict[str, Any] = {key.lower(): value for key, value in fragile.items()}
    writer, reader = cache(**values), cache(**values)
    await greet(writer, reader)
    source = Source(b"old")
    assert await get(reader, source) == b"old"
    async with redis_client.Redis.from_url(fragile["REDIS_URL"]) as old:
        replica = await replica_of(old, fragile)
        async with replica:
            await replica.config_set("masterauth", "wrong")
            await replica.client_kill_filter(_type="master")
            source.value = b"new"  # the commit
            await writer.remember(NO_LSN, catalogue=True)  # acknowledged
            entry = [key async for key in replica.scan_iter("*:catalogue:k")]
            assert (await replica.get(entry[0]) or b"").endswith(b"old")  # type: ignore[arg-type]
            await old.shutdown(nosave=True, now=True, force=True)
            answers = set()
            async with asyncio.timeout(120):
                while (await replica.role())[0] != b"master":
                    answers.add(await get(reader, source))
            held: Any = await replica.get(entry[0])
            assert held.endswith(b"old"), "the new master holds the old value"
            await is_known_again(reader)
            answers |= {await get(reader, source) for _ in range(20)}
    assert answers == {b"new"}


async def replica_of(master: redis_client.Redis, environment: dict[str, str]) -> redis_client.Redis:
    """Its replica, once it has caught up."""
    async with asyncio.timeout(120):
        while True:
            _, position, replicas = await master.role()
            if replicas and int(replicas[0][2]) >= int(position) > 0:
                host, port = replicas[0][0].decode(), int(replicas[0][1])
                return redis_client.Redis(host=host, port=port, password=environment["REDIS_PASSWORD"])
            await asyncio.sleep(0.05)


async def test_an_idle_process_leaves_a_master_that_is_none_any_more(
    cache: Callable[..., Cache], fragile: dict[str, str]
) -> None:
    """Its connection goes on working; and without a limit nothing that it asks is a write."""
    url = {**WITHOUT_SENTINELS, "redis_url": fragile["REDIS_URL"]}
    one = cache(**url, redis_watch_seconds=0.05, rate_limit_per_second=0)
    await greet(one)
    async with redis_client.Redis.from_url(fragile["REDIS_URL"]) as raw:
        await replica_of(raw, fragile)
        await raw.execute_command("FAILOVER")  # type: ignore[no-untyped-call]
        async with asyncio.timeout(120):
            while (await one.look("caller")).is_known:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await raw.role())[0] == b"slave"


def test_a_change_that_an_api_could_not_tell_of_is_told_by_its_event(backend: Backend) -> None:
    """As when it dies between its commit and its note: the event is in the same commit."""
    backend.start_api(REDIS_SENTINELS="", REDIS_SENTINEL_MASTER="", REDIS_URL="")
    apart = backend.client().http
    backend.start_api(**FOR_EVER)
    reader = backend.client().http
    assert apart.put("/v1/products/A", json=THING).is_success
    assert [reader.get("/v1/products/A").json()["name"] for _ in range(2)] == ["old", "old"]
    assert apart.put("/v1/products/A", json={**THING, "name": "new"}).is_success
    assert reader.get("/v1/products/A").json()["name"] == "old", "nobody could know"
    backend.start_worker()
    wait_until(lambda: reader.get("/v1/products/A").json()["name"] == "new", "the event tells of it")


async def test_a_chunk_whose_worker_died_after_its_commit_is_told_when_it_comes_again(
    backend: Backend, dsn: str
) -> None:
    backend.start_api(**FOR_EVER)
    api = backend.client()
    assert api.http.put("/v1/products/A", json=THING).is_success
    assert [api.http.get("/v1/products/A").json()["name"] for _ in range(2)] == ["old", "old"]
    job = api.post((feeds.HEADER + "A,new,c,s,1,EUR,1,\n").encode()).json()
    async with await psycopg.AsyncConnection.connect(dsn) as conn:  # what the worker did before it died
        assert await apply_chunk(conn, ChunkRef(UUID(job["id"]), 0, is_redelivered=False)) == 1
    assert api.http.get("/v1/products/A").json()["name"] == "old", "nobody could know"
    backend.start_worker("bulk")  # without the queue of events
    wait_until(lambda: api.http.get("/v1/products/A").json()["name"] == "new", "the message comes again")


@pytest.mark.parametrize("path", ["/v1/imports/{}", "/v1/jobs"])
async def test_who_is_told_that_an_import_is_done_sees_what_it_did(backend: Backend, dsn: str, path: str) -> None:
    """Also before its worker has told the cache, which it does only after its commit."""
    backend.start_api(**FOR_EVER)
    api = backend.client()
    for name in ("new", "newer"):
        assert api.http.put("/v1/products/A", json=THING).is_success
        job = api.post((feeds.HEADER + f"A,{name},c,s,1,EUR,1,\n").encode()).json()
        assert [api.http.get("/v1/products/A").json()["name"] for _ in range(2)] == ["old", "old"]
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            assert await apply_chunk(conn, ChunkRef(UUID(job["id"]), 0, is_redelivered=False)) == 1
        assert '"succeeded"' in api.http.get(path.format(job["id"])).text
        assert api.http.get("/v1/products/A").json()["name"] == name


async def test_an_import_is_news_once(cache: Callable[..., Cache]) -> None:
    """So a client that asks for it again and again does not empty the cache each time, nor does one of long ago."""
    one, job_id, now = cache(), uuid4(), datetime.now(UTC)
    assert one.is_news(job_id, now)
    one.note_told([job_id])
    assert not one.is_news(job_id, now)
    assert not one.is_news(uuid4(), now - timedelta(days=1))
    one.note_told(uuid4() for _ in range(20_000))
    assert len(one._told) == 10_000


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_change_whose_commits_answer_was_lost_does_not_fail_on_itself(
    dsn: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The work is repeated, as after a failover, though its first commit stands."""
    run = Database.run

    async def lost_and_repeated(self: Database, work: Any, *args: Any) -> Any:
        await run(self, work, *args)
        return await run(self, work, *args)

    async with application(dsn) as (http, _):
        made = await http.put("/v1/products/A", json=THING)
        monkeypatch.setattr(Database, "run", lost_and_repeated)
        body = None if method == "DELETE" else THING | {"name": "new"}
        answer = await http.request(method, "/v1/products/A", json=body, headers={"If-Match": made.headers["ETag"]})
        assert answer.status_code == (204 if method == "DELETE" else 200), answer.text
        created = await http.put("/v1/products/B", json=THING, headers={"If-None-Match": "*"})
        assert created.status_code == 201, created.text
    with psycopg.connect(dsn) as conn:
        row = conn.execute("SELECT count(*) FROM outbox WHERE body->>'event' = 'product.changed'").fetchone()
    assert row == (3,), "each change is told once"
