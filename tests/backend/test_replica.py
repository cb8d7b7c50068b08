"""Reads from a replica: only from one that has replayed what the caller may know of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tests.backend.conftest import purge_queues, settings
from tests.backend.kit import feeds, servers
from tests.backend.kit.processes import Backend, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend.kit.processes import Process

THING = {"name": "Thing", "price": "1", "currency": "EUR", "category": "c"}


@pytest.fixture
def backend(
    pair: tuple[servers.Postgres, servers.Postgres],
    redis: dict[str, str],
    rabbitmq: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backend]:
    asyncio.run(purge_queues(rabbitmq))
    primary, replica = pair
    environment = settings(primary.dsn, redis, rabbitmq) | {"DATABASE_READONLY_URL": replica.dsn}
    backend = Backend(environment, tmp_path_factory.mktemp("replica"))
    with psycopg.connect(primary.dsn) as conn:
        conn.execute("TRUNCATE products, stock")
    yield backend
    backend.stop()
    with psycopg.connect(replica.dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_wal_replay_resume()")


def pause(replica: servers.Postgres) -> None:
    with psycopg.connect(replica.dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_wal_replay_pause()")


def reads(backend: Backend) -> dict[str, float]:
    metrics = backend.started[0].metrics()
    return {name: metrics.get(f'appstack_reads_total{{server="{name}"}}', 0.0) for name in ("primary", "replica")}


def other_caller(backend: Backend) -> httpx.Client:
    token = backend.client().http.post("/v1/tokens", json={"name": "o", "scopes": ["read"]}).json()["token"]
    return httpx.Client(
        base_url=f"http://127.0.0.1:{backend.api_port}", headers={"Authorization": f"Bearer {token}"}, timeout=60
    )


def serves_from_replica(backend: Backend, http: httpx.Client) -> bool:
    before = reads(backend)["replica"]
    assert http.get("/v1/products").is_success
    return reads(backend)["replica"] > before


def log(backend: Backend) -> str:
    return backend.started[0].log.read_text()


def skus(http: httpx.Client) -> list[str]:
    return [product["sku"] for product in http.get("/v1/products").json()["items"]]


def test_a_writer_avoids_a_replica_that_lags_and_a_reader_does_not(
    pair: tuple[servers.Postgres, servers.Postgres], backend: Backend
) -> None:
    backend.start_api(REPLICA_MOST_STALE_SECONDS="4")
    writer, reader = backend.client().http, other_caller(backend)
    assert writer.put("/v1/products/A", json=THING).is_success
    wait_until(lambda: serves_from_replica(backend, reader), "the replica serves")
    wait_until(lambda: skus(reader) == ["A"], "it has replayed the product")
    pause(pair[1])
    assert writer.put("/v1/products/B", json=THING).is_success
    before = reads(backend)
    assert skus(writer) == ["A", "B"], "the writer reads what it wrote"
    assert reads(backend) == {"primary": before["primary"] + 1, "replica": before["replica"]}
    assert reader.get("/v1/products/B").json()["sku"] == "B", (
        "the cache never takes an answer older than its generation"
    )
    wait_until(lambda: skus(reader) == ["A", "B"], "nobody reads from a replica that lags for longer than the limit")


def test_a_token_ends_when_it_is_revoked_however_old_the_replica_is(
    pair: tuple[servers.Postgres, servers.Postgres], backend: Backend
) -> None:
    backend.start_api(REPLICA_MOST_STALE_SECONDS="60")
    admin, reader = backend.client().http, other_caller(backend)
    assert reader.get("/v1/products").is_success
    pause(pair[1])
    for token in backend.client().pages("/v1/tokens"):
        assert admin.delete(f"/v1/tokens/{token['id']}").is_success
    wait_until(lambda: reader.get("/v1/products").status_code == 401, "it has ended")


def test_a_finished_import_is_seen_by_who_was_told_of_it(
    pair: tuple[servers.Postgres, servers.Postgres], backend: Backend
) -> None:
    backend.start_api(REPLICA_MOST_STALE_SECONDS="10")
    backend.start_worker()
    api = backend.client()
    # That long nobody reads from it: Redis was met just now, and may have forgotten writes of any age up to this.
    wait_until(lambda: serves_from_replica(backend, api.http), "the replica serves")
    pause(pair[1])
    feed = feeds.rows(50, seed=71)
    api.feed(feeds.as_csv(feed))
    assert skus(api.http) == sorted(row[0] for row in feed)


def test_an_export_is_read_from_a_fresh_replica_and_not_from_a_stale_one(
    pair: tuple[servers.Postgres, servers.Postgres], backend: Backend
) -> None:
    backend.start_api()
    patient = backend.start_worker(EXPORT_REPLICA_WAIT_SECONDS="60")  # of a busy machine
    api, feed = backend.client(), feeds.rows(1_200, seed=72)
    api.feed(feeds.as_csv(feed))

    def exports_of(worker: Process) -> dict[str, float]:
        metrics = worker.metrics()
        names = ("primary", "replica")
        return {name: metrics.get(f'appstack_exports_read_total{{server="{name}"}}', 0.0) for name in names}

    assert feeds.exported(api.export()) == feeds.catalogue(feed)
    assert exports_of(patient) == {"primary": 0, "replica": 1}
    assert patient.terminate() == 0
    worker = backend.start_worker(EXPORT_REPLICA_WAIT_SECONDS="1")
    pause(pair[1])
    assert api.http.put("/v1/products/ZZ", json=THING).is_success
    assert "ZZ," in api.export()
    assert exports_of(worker) == {"primary": 1, "replica": 0}


def test_without_its_replica_nobody_waits(redis: dict[str, str], backend: Backend) -> None:
    backend.start_api(DATABASE_READONLY_URL="postgresql://app@127.0.0.1:9/none", REPLICA_MOST_STALE_SECONDS="0.1")
    http = backend.client().http
    wait_until(lambda: http.get("/v1/products").is_success and "go to the primary" in log(backend), "it was tried")
    seconds = []
    for _ in range(30):
        answer = http.get("/v1/products")
        assert answer.is_success
        seconds.append(answer.elapsed.total_seconds())
    assert sorted(seconds)[15] < 0.25
