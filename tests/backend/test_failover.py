"""Services that fail and come back: the backend finds them again by itself, at once."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING

import aio_pika
import httpx
import psycopg
import pytest
import redis as redis_client

from appstack_backend import schema
from appstack_backend.http.auth import REMEMBERED_SECONDS
from tests.backend.conftest import settings
from tests.backend.kit import feeds, servers
from tests.backend.kit.processes import Api, Backend, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Between the first write that PostgreSQL accepts and the first one over the API: one second is the aim, which is told.
RECOVERY_SECONDS = 5.0
DATABASE_PATIENCE_SECONDS = 10.0  # so long somebody waits for a primary, where nothing else can serve
NEW_TOKEN = {"name": "n", "scopes": ["read"]}


def test_the_api_writes_again_soon_after_its_database(
    tmp_path: Path, redis: dict[str, str], rabbitmq: str, record_property: Callable[[str, object], None]
) -> None:
    with servers.postgres(tmp_path / "postgres") as server:
        schema.migrate(server.dsn, schema.load_migrations())
        backend = Backend(settings(server.dsn, redis, rabbitmq), tmp_path)
        try:
            backend.start_api(DATABASE_PATIENCE_SECONDS="0.5")
            api = backend.client()
            wait_until(lambda: is_accepted(api), "the API writes")
            server.kill()
            answer = api.post(feeds.as_csv(feeds.rows(1, seed=41)))
            assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
            assert answer.headers["Retry-After"]
            assert api.http.get("/readyz").status_code == 200, "nobody is unready"
            time.sleep(2)  # long enough for clients that back off to back off
            gap = measure_gap(server, api)
        finally:
            backend.stop()
    record_property("measured", f"{gap:.2f} s")
    assert gap < RECOVERY_SECONDS


def test_a_former_primary_that_stands_alone_is_not_read_for_long(
    tmp_path: Path, redis: dict[str, str], rabbitmq: str
) -> None:
    """As one that is cut off together with an API: both addresses lead to it, and nobody tells it of new rows."""
    thing = {"name": "n", "price": "1", "currency": "EUR"}
    with servers.postgres(tmp_path / "postgres") as server:
        schema.migrate(server.dsn, schema.load_migrations())
        backend = Backend(settings(server.dsn, redis, rabbitmq), tmp_path)
        try:
            readonly = {"DATABASE_READONLY_URL": f"{server.dsn}?application_name=reads"}
            backend.start_api(DATABASE_PATIENCE_SECONDS="0.3", REPLICA_MOST_STALE_SECONDS="5", **readonly)
            http, process = backend.client().http, backend.started[0]
            wait_until(lambda: http.put("/v1/products/A", json=thing).is_success, "the API writes")
            served = 'appstack_reads_total{server="replica"}'
            wait_until(lambda: http.get("/v1/products").is_success and process.metrics().get(served), "it serves")
            server.restart_as(standby=True)
            wait_until(lambda: http.get("/v1/products").is_success, "as a replica it serves while a failover lasts")
            wait_until(lambda: http.get("/v1/products").status_code == 503, "then it is too old")
            assert [http.get("/v1/products").status_code for _ in range(10)] == [503] * 10
            server.restart_as(standby=False)
            wait_until(lambda: http.get("/v1/products").is_success, "a primary serves again")
        finally:
            backend.stop()


def test_made_tokens_read_on_while_the_primary_is_away(
    tmp_path: Path, redis: dict[str, str], rabbitmq: str, record_property: Callable[[str, object], None]
) -> None:
    """Longer than a token is remembered; one that this API has not seen before as well."""
    with servers.postgres(tmp_path / "primary") as primary:
        schema.migrate(primary.dsn, schema.load_migrations())
        with servers.replica(tmp_path / "replica", primary) as replica:
            backend = Backend(settings(primary.dsn, redis, rabbitmq), tmp_path)
            try:
                process = backend.start_api(DATABASE_READONLY_URL=replica.dsn)
                admin = backend.client().http
                known, unknown = (
                    {"Authorization": f"Bearer {admin.post('/v1/tokens', json=NEW_TOKEN).json()['token']}"}
                    for _ in range(2)
                )
                with httpx.Client(base_url=admin.base_url, timeout=60) as http:
                    served = 'appstack_reads_total{server="replica"}'

                    def is_served() -> bool:
                        return http.get("/v1/products", headers=known).is_success and bool(
                            process.metrics().get(served)
                        )

                    wait_until(is_served, "the replica serves")
                    with psycopg.connect(replica.dsn) as conn:
                        tokens = "SELECT count(*) = 2 FROM tokens"
                        wait_until(lambda: (conn.execute(tokens).fetchone() or (False,))[0], "it knows of the tokens")
                    primary.kill()
                    seconds, ends_at = [0.0], time.monotonic() + REMEMBERED_SECONDS + 2
                    while time.monotonic() < ends_at:
                        for headers in (known, unknown):
                            begun = time.monotonic()
                            assert http.get("/v1/products", headers=headers).status_code == 200
                            seconds.append(time.monotonic() - begun)
                        time.sleep(0.1)
                    assert http.get("/v1/products", headers={"Authorization": "Bearer none"}).status_code == 503
            finally:
                backend.stop()
    record_property("measured", f"{max(seconds):.2f} s")
    assert sorted(seconds)[len(seconds) // 2] < 5, "nobody waits for the primary"
    assert max(seconds) < DATABASE_PATIENCE_SECONDS, "nor at first"


def measure_gap(server: servers.Postgres, api: Api) -> float:
    """Seconds between the first write over a connection of our own and the first one over the API."""
    first: dict[str, float] = {}

    def write() -> None:
        while "own" not in first:
            try:
                with psycopg.connect(server.dsn, connect_timeout=2) as conn:
                    conn.execute("CREATE TABLE first_write ()")
                first["own"] = time.monotonic()
            except psycopg.OperationalError:
                time.sleep(0.02)

    def send() -> None:
        wait_until(lambda: is_accepted(api), "the API writes again")
        first["api"] = time.monotonic()

    threads = [threading.Thread(target=write), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    server.start()
    for thread in threads:
        thread.join()
    return first["api"] - first["own"]


def is_accepted(api: Api) -> bool:
    return api.post(feeds.as_csv(feeds.rows(1, seed=41))).status_code == httpx.codes.ACCEPTED


def test_the_cache_follows_the_sentinels_to_a_new_master(
    backend: Backend, redis: dict[str, str], api_with_product: Api
) -> None:
    api, process = api_with_product, backend.started[0]

    def hits() -> float:
        assert api.http.get("/v1/products/A").status_code == 200
        return process.metrics().get('appstack_cache_total{result="hit"}', 0.0)

    wait_until(lambda: hits() > 0, "the product is cached")
    host, port = redis["REDIS_SENTINELS"].split(",")[0].split(":")
    sentinel = redis_client.Redis(host=host, port=int(port), password=redis["REDIS_PASSWORD"])
    old = master(sentinel)
    wait_until(lambda: fails_over(sentinel), "a Sentinel agrees to fail over")
    wait_until(lambda: master(sentinel) != old, "another one is master")
    before = hits()
    wait_until(lambda: hits() > before + 3, "the product is cached again")


@pytest.fixture
def api_with_product(backend: Backend) -> Api:
    """An API whose catalogue has the product A."""
    backend.start_api()
    worker = backend.start_worker()
    api = backend.client()
    api.feed((feeds.HEADER + "A,n,c,s,1,EUR,3,main\n").encode())
    worker.kill()
    return api


def master(sentinel: redis_client.Redis) -> object:
    return sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "test.shop")  # type: ignore[no-untyped-call]


def fails_over(sentinel: redis_client.Redis) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL FAILOVER", "test.shop"))  # type: ignore[no-untyped-call]
    except redis_client.ResponseError:  # the replica was not seen yet
        time.sleep(0.2)
        return False


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


def test_a_redis_that_swallows_everything_costs_one_timeout_in_a_while(backend: Backend, silent_port: int) -> None:
    process = backend.start_api(
        REDIS_SENTINELS=f"127.0.0.1:{silent_port}", REDIS_TIMEOUT_SECONDS="2", REDIS_BREAKER_SECONDS="300"
    )
    http = backend.client().http
    seconds = [http.get("/v1/products/NONE").elapsed.total_seconds() for _ in range(40)]
    assert process.log.read_text().count("Redis is left alone for a while") == 1
    assert sorted(seconds)[20] < 1, "half of the timeout"


def test_a_consumer_that_the_broker_forgot_starts_anew(backend: Backend, rabbitmq: str) -> None:
    backend.start_api()
    worker = backend.start_worker(WORKER_WATCH_SECONDS="0.5")
    asyncio.run(delete_queue(rabbitmq, "bulk"))
    job = backend.client().feed(feeds.as_csv(feeds.rows(700, seed=42)))
    assert job["state"] == "succeeded"
    restarts = [line for line in worker.lines() if line["event"] == "the consumer is started anew"]
    assert {line["queue"] for line in restarts} == {"bulk"}


async def delete_queue(url: str, name: str) -> None:
    async with await aio_pika.connect(url) as connection:
        await (await connection.channel()).queue_delete(name)
