"""The scheduled jobs: what each of them does, also when it runs twice at once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from appstack_backend.database import Database
from appstack_backend.jobs.run import TRY_LOCK
from appstack_backend.repository import exports, rescue
from tests.backend.conftest import purge_queues
from tests.backend.kit import feeds
from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.kit.receiver import receiver
from tests.backend.test_webhooks import PRIVATE, THING, deliveries, subscribe

if TYPE_CHECKING:
    from tests.backend.kit.processes import Api, Backend


@pytest.fixture
def api(backend: Backend) -> Api:
    backend.start_api(**PRIVATE)
    return backend.client()


def run_twice(backend: Backend, name: str, **environment: str) -> list[dict[str, object]]:
    """Run a job twice at once; what a sweep told of each that did something: the second may find the first at it."""
    both = [backend.start("job", name, **environment) for _ in range(2)]
    assert [process.popen.wait(PATIENCE_SECONDS) for process in both] == [0, 0], both[0].log.read_text()
    return [line for process in both for line in process.lines() if line["event"] == "swept"]


def outbox(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        row = conn.execute("SELECT count(*) FROM outbox").fetchone()
    return int(row[0]) if row else 0


def test_the_sweep_publishes_what_no_relay_did(api: Api, backend: Backend, dsn: str) -> None:
    """The API dies between its commit and the broker's confirm; nobody else runs."""
    backend.stop()
    backend.start_api(RABBITMQ_URL="amqp://app:x@127.0.0.1:9/%2F")
    job = backend.client().post(feeds.as_csv(feeds.rows(600, seed=33))).json()
    backend.stop()
    assert outbox(dsn) == 2
    told = run_twice(backend, "sweep-outbox")
    assert sum(int(str(line["published"])) for line in told) == 2
    assert outbox(dsn) == 0
    backend.start_api()
    backend.start_worker(OUTBOX_POLL_SECONDS="60")
    assert backend.client().ended(job["id"])["state"] == "succeeded"


def test_a_run_beside_another_one_ends_without_work(api: Api, backend: Backend, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(TRY_LOCK, ("purge-expired",))
        second = backend.start("job", "purge-expired")
        assert second.popen.wait(PATIENCE_SECONDS) == 0
        told = [line["event"] for line in second.lines()]
        assert "purged" not in told
        assert "another run of this job is at work; nothing is left to do" in told
        other = backend.start("job", "refresh-statistics")
        assert other.popen.wait(PATIENCE_SECONDS) == 0
        assert "job done" in [line["event"] for line in other.lines()]
    later = backend.start("job", "purge-expired")
    assert later.popen.wait(PATIENCE_SECONDS) == 0
    assert "purged" in [line["event"] for line in later.lines()]


def test_statistics_are_refreshed(api: Api, backend: Backend) -> None:
    backend.start_worker()
    api.feed((feeds.HEADER + "A,n,one,s,1,EUR,1,\nB,n,one,s,1,EUR,1,\nC,n,two,s,1,EUR,1,\n").encode())
    run_twice(backend, "refresh-statistics")
    assert {item["name"]: item["products"] for item in api.pages("/v1/categories")} == {"one": 2, "two": 1}
    assert {item["name"]: item["products"] for item in api.pages("/v1/suppliers")} == {"s": 3}


def test_the_sweep_rescues_work_whose_messages_are_lost(api: Api, backend: Backend, dsn: str, rabbitmq: str) -> None:
    """A broker that lost its disks has lost what it had confirmed; nothing would ever come again by itself."""
    feed = feeds.rows(1_200, seed=34)
    with receiver() as hook:
        subscription = subscribe(api, hook.url, "product.changed")
        worker = backend.start_worker("notifications")
        worker.kill()
        with psycopg.connect(dsn) as conn:  # as if its event was told, and the delivery's message lost
            conn.execute(
                "INSERT INTO deliveries (id, subscription_id, event_id, event, payload, request_id)"
                " VALUES (gen_random_uuid(), %s, 'e', 'product.changed', '{}', 'r')",
                (subscription["id"],),
            )
        imported = api.post(feeds.as_csv(feed)).json()
        export = api.http.post("/v1/exports", json={"format": "csv"}).headers["Location"]
        wait_until(lambda: outbox(dsn) == 0, "the broker has confirmed all")
        asyncio.run(purge_queues(rabbitmq))
        told = run_twice(backend, "sweep-outbox")
        assert {line["rescued"] for line in told} == {0}, "it is too early to tell"
        with psycopg.connect(dsn) as conn:
            for table in ("imports", "exports", "deliveries"):
                conn.execute(f"UPDATE {table} SET created_at = now() - interval '16 minutes'".encode())
        told = run_twice(backend, "sweep-outbox")
        assert sum(int(str(line["rescued"])) for line in told) >= 5, "three chunks, the export and the delivery"
        backend.start_worker(**PRIVATE)
        assert api.ended(imported["id"])["rows"] == {"received": 1_200, "imported": 1_200, "rejected": 0}
        wait_until(lambda: api.http.get(export).json()["state"] == "succeeded", "the export succeeds")
        wait_until(lambda: [d["state"] for d in deliveries(api, subscription)] == ["delivered"], "it is delivered")
        assert len(hook.got) == 1
    assert api.http.put("/v1/products/A", json=THING).is_success


def test_the_sweep_tells_of_ends_whose_events_are_lost(api: Api, backend: Backend, dsn: str, rabbitmq: str) -> None:
    """A broker lost them before anybody worked on them; what was worked on is not told again."""
    with receiver() as hook:
        subscription = subscribe(api, hook.url, "import.finished", "export.finished")
        worker = backend.start_worker(**PRIVATE)
        told = api.feed(feeds.as_csv(feeds.rows(10, seed=36)))
        wait_until(lambda: [d["state"] for d in deliveries(api, subscription)] == ["delivered"], "it is told")
        worker.kill()
        backend.start_worker("bulk")
        imported = api.feed(feeds.as_csv(feeds.rows(10, seed=37)))
        api.export()
        wait_until(lambda: outbox(dsn) == 0, "the broker has confirmed all")
        asyncio.run(purge_queues(rabbitmq))
        assert {line["rescued"] for line in run_twice(backend, "sweep-outbox")} == {0}, "it is too early to tell"
        with psycopg.connect(dsn) as conn:
            for table in ("imports", "exports"):
                shift = "created_at = created_at - '1 h'::interval, finished_at = finished_at - '1 h'::interval"
                conn.execute(f"UPDATE {table} SET {shift}".encode())
        rescued = sum(int(str(line["rescued"])) for line in run_twice(backend, "sweep-outbox"))
        assert rescued in (2, 4), "by one of the two, or by both before either has published"
        backend.start_worker("notifications", **PRIVATE)
        wait_until(lambda: len(deliveries(api, subscription)) == 3, "both are told")
        wait_until(lambda: {d["state"] for d in deliveries(api, subscription)} == {"delivered"}, "and delivered")
        assert {line["rescued"] for line in run_twice(backend, "sweep-outbox")} == {0}
        assert sorted(body["type"] for body in hook.bodies) == ["export.finished", *["import.finished"] * 2]
        assert {body["data"]["id"] for body in hook.bodies} >= {told["id"], imported["id"]}


def test_an_event_that_became_a_dead_letter_is_not_made_again(api: Api, backend: Backend, dsn: str) -> None:
    """Each sweep would make one more letter. It is sent back from where it lies."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ALTER TABLE subscriptions RENAME TO mislaid")  # what no attempt can do anything about
        worker = backend.start_worker()
        api.feed(feeds.as_csv(feeds.rows(10, seed=38)))
        dead = 'appstack_messages_total{outcome="dead",queue="notifications"}'
        wait_until(lambda: worker.metrics().get(dead) == 1, "its event is a dead letter")
        conn.execute("ALTER TABLE mislaid RENAME TO subscriptions")
        shift = "created_at = created_at - '1 h'::interval, finished_at = finished_at - '1 h'::interval"
        conn.execute(f"UPDATE imports SET {shift}".encode())
        assert {line["rescued"] for line in run_twice(backend, "sweep-outbox")} == {0}


def test_a_delivery_that_became_a_dead_letter_is_not_made_again(api: Api, backend: Backend, dsn: str) -> None:
    """Nor does it stay pending for ever. Sent back, it is delivered after all."""
    with receiver() as hook, psycopg.connect(dsn, autocommit=True) as conn:
        subscription = subscribe(api, hook.url, "product.changed")
        conn.execute("ALTER TABLE webhook_targets RENAME TO mislaid")  # what no attempt can do anything about
        worker = backend.start_worker(**PRIVATE)
        request_id = api.http.put("/v1/products/A", json=THING).headers["X-Request-Id"]
        dead = 'appstack_messages_total{outcome="dead",queue="notifications"}'
        wait_until(lambda: worker.metrics().get(dead) == 1, "its attempt is a dead letter")
        conn.execute("ALTER TABLE mislaid RENAME TO webhook_targets")
        conn.execute("UPDATE deliveries SET created_at = created_at - '1 h'::interval")
        assert {line["rescued"] for line in run_twice(backend, "sweep-outbox")} == {0}
        (delivery,) = deliveries(api, subscription)
        told = f"an attempt failed on our side; its request id is {request_id}"
        assert (delivery["state"], delivery["last_error"]) == ("dead", told) and delivery["finished_at"]
        assert hook.got == []
        backend.run("dead-letters", "resend", "notifications", "--all")
        wait_until(lambda: deliveries(api, subscription)[0]["state"] == "delivered", "it is delivered")
        assert len(hook.got) == 1


def test_work_that_waits_in_its_queue_is_not_doubled(api: Api, backend: Backend, dsn: str) -> None:
    api.post(feeds.as_csv(feeds.rows(1_200, seed=35)))
    wait_until(lambda: outbox(dsn) == 0, "the messages wait in the queue")
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE imports SET created_at = now() - interval '1 day'")
    told = run_twice(backend, "sweep-outbox")
    assert {line["rescued"] for line in told} == {0}, json.dumps(told)


async def test_all_parts_of_a_large_import_are_rescued_at_once(dsn: str) -> None:
    """What is left over would wait until the others have been done for a quarter of an hour."""
    database = Database(dsn, "test", size=3, patience_seconds=10)
    await database.open()
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(
                "INSERT INTO imports (id, state, format, owner, request_id, receiver_until, created_at)"
                " VALUES (%s, 'queued', 'csv', 'o', 'r', now(), now() - '1 day'::interval)",
                (import_id := uuid4(),),
            )
            conn.execute(
                "INSERT INTO import_chunks (import_id, number, first_line, rows, rejected, is_partial, payload_sha256)"
                " SELECT %s, n, n, 1, 0, false, '' FROM generate_series(0, 1999) n",
                (import_id,),
            )
        assert await rescue.rescue(database, "bulk", minutes=15) == 2_000
    finally:
        await database.close()


async def test_an_export_that_is_being_written_is_not_rescued(dsn: str) -> None:
    """Each message of it would hold a worker's place until the first one is done."""
    job_id = uuid4()
    database = Database(dsn, "test", size=3, patience_seconds=10)
    await database.open()
    try:
        await exports.create(database, job_id, "csv", {}, "o", "r", most=1)
        await exports.start(database, job_id)
        await database.execute("UPDATE exports SET created_at = now() - interval '1 hour'")
        async with database.transaction() as writer:
            assert await exports.lock(writer, job_id)
            assert await rescue.rescue(database, "bulk", minutes=15) == 0
        assert await rescue.rescue(database, "bulk", minutes=15) == 1, "its writer has died"
    finally:
        await database.close()
