"""Crashes in the middle of the work: the result equals the undisturbed one, and nothing is done twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tests.backend.kit import feeds
from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend.kit.processes import Api, Backend

BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%%INSERT INTO stock%%'"""

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@contextmanager
def stock_locked(dsn: str) -> Iterator[psycopg.Connection]:
    """While this holds, a worker that applies a chunk stands between its products and its stock."""
    with psycopg.connect(dsn) as conn:
        conn.execute("LOCK TABLE stock IN EXCLUSIVE MODE")
        yield conn


def is_in_mid_chunk(dsn: str) -> bool:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(BLOCKED).fetchone()
        return row is not None and row[0] > 0


def test_a_worker_killed_in_mid_chunk_changes_nothing(backend: Backend, dsn: str) -> None:
    backend.start_api()
    api, feed = backend.client(), feeds.rows(3_000, seed=11, keys=2_000)
    worker = backend.start_worker()
    with stock_locked(dsn):
        job = api.post(feeds.as_csv(feed)).json()
        wait_until(lambda: is_in_mid_chunk(dsn), "a worker is in mid-chunk")
        assert api.job(job["id"])["state"] == "queued"
        worker.kill()
    second = backend.start_worker()
    job = api.ended(job["id"])
    assert job["state"] == "succeeded"
    assert job["rows"] == {"received": 3_000, "imported": 3_000, "rejected": 0}
    assert job["chunks"]["redelivered"] >= 1
    assert second.metrics()['appstack_messages_redelivered_total{queue="bulk"}'] >= 1
    assert feeds.exported(api.export()) == feeds.catalogue(feed)


def wait_for_chunks(api: Api, job_id: str, count: int) -> None:
    """Until so many more chunks are done."""
    done = api.job(job_id)["chunks"]["done"]
    wait_until(lambda: api.job(job_id)["chunks"]["done"] >= done + count, f"{count} more chunks")


def test_workers_killed_again_and_again_change_nothing(backend: Backend) -> None:
    backend.start_api()
    api, feed = backend.client(), feeds.rows(20_000, seed=12, keys=5_000)
    body, kills = feeds.as_csv(feed), threading.Semaphore(0)
    quarter = len(body) // 4 + 1

    def quarters() -> Iterator[bytes]:
        """All but the first come after a kill: no worker is done before."""
        yield body[:quarter]
        for at in range(quarter, len(body), quarter):
            assert kills.acquire(timeout=PATIENCE_SECONDS)
            yield body[at : at + quarter]

    with ThreadPoolExecutor(1) as sender:
        posted = sender.submit(api.post, quarters())
        job_id = wait_until(lambda: api.pages("/v1/jobs"), "the upload has begun")[0]["id"]
        for _ in range(3):
            worker = backend.start_worker()
            wait_for_chunks(api, job_id, 3)
            worker.kill()
            kills.release()
        assert posted.result().status_code == httpx.codes.ACCEPTED
    backend.start_worker()
    job = api.ended(job_id)
    assert job["state"] == "succeeded"
    assert job["rows"]["imported"] == 20_000
    assert job["chunks"]["done"] == job["chunks"]["total"] == 40
    assert feeds.exported(api.export()) == feeds.catalogue(feed)


def test_an_api_killed_in_mid_upload_leaves_an_import_that_can_go_on(backend: Backend) -> None:
    process = backend.start_api()
    backend.start_worker(IMPORT_LEASE_SECONDS="1.5")
    api, feed = backend.client(), feeds.rows(5_000, seed=13)
    body = feeds.as_csv(feed)
    sent_half, may_go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        sent_half.set()
        may_go_on.wait()
        yield body[len(body) // 2 :]

    def send() -> None:
        with pytest.raises(httpx.TransportError):
            api.post(slowly(), Idempotency_Key="upload")

    sender = threading.Thread(target=send)
    sender.start()
    sent_half.wait()
    job_id = wait_until(lambda: api.pages("/v1/jobs"), "the upload has begun")[0]["id"]
    wait_until(lambda: api.job(job_id)["rows"]["imported"] > 500, "workers keep up with the upload")
    assert api.job(job_id)["state"] == "receiving"
    process.kill()
    may_go_on.set()
    sender.join()

    backend.start_api(IMPORT_LEASE_SECONDS="1.5")
    api = backend.client()
    busy = api.post(body, Idempotency_Key="upload")
    assert (busy.status_code, busy.json()["code"]) == (409, "IDEMPOTENCY_KEY_BUSY")
    with psycopg.connect(backend.environment["DATABASE_URL"]) as conn:  # rather than wait for the lease of 30 s
        conn.execute("UPDATE imports SET receiver_until = now()")
    job = api.ended(job_id)
    assert (job["state"], job["code"]) == ("failed", "IMPORT_TRUNCATED")
    assert 500 < job["rows"]["received"] == job["rows"]["imported"] < 5_000

    resumed = api.feed(body, Idempotency_Key="upload")
    assert (resumed["id"], resumed["state"], resumed["code"]) == (job_id, "succeeded", None)
    assert resumed["rows"] == {"received": 5_000, "imported": 5_000, "rejected": 0}
    assert feeds.exported(api.export()) == feeds.catalogue(feed)


@pytest.mark.parametrize("is_silent", [False, True])
def test_an_upload_that_outlasts_its_api_goes_on_at_another_one(backend: Backend, is_silent: bool) -> None:
    """At once: its key is not held by a receiver that is gone. Who still sends is told so."""
    process = backend.start_api(DRAIN_TIMEOUT_SECONDS="4")
    backend.start_worker()
    api, feed, over = backend.client(), feeds.rows(5_000, seed=18), threading.Event()
    body = feeds.as_csv(feed)

    def slowly() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        for at in range(len(body) // 2, len(body), 20):
            over.wait(60 if is_silent else 0.1)
            yield body[at : at + 20]

    with ThreadPoolExecutor(1) as pool:
        posted = pool.submit(api.post, slowly(), Idempotency_Key="long")
        wait_until(lambda: api.pages("/v1/jobs"), "the upload has begun")
        assert process.terminate() == 0
        over.set()
        if is_silent:
            posted.exception()
        else:
            told = posted.result().json()
            assert (told["code"], "another one goes on" in told["error"]["message"]) == ("IMPORT_TRUNCATED", True)
    backend.start_api()
    job = backend.client().feed(body, Idempotency_Key="long")
    assert (job["state"], job["rows"]["imported"]) == ("succeeded", 5_000)
    assert len(backend.client().pages("/v1/jobs")) == 1


def test_sigterm_lets_the_message_in_hand_finish(backend: Backend, dsn: str) -> None:
    backend.start_api()
    api, feed = backend.client(), feeds.rows(400, seed=14)
    worker = backend.start_worker()
    with stock_locked(dsn):
        job = api.post(feeds.as_csv(feed)).json()
        wait_until(lambda: is_in_mid_chunk(dsn), "the worker is in mid-chunk")
        stopping = threading.Thread(target=worker.terminate)
        stopping.start()
        wait_until(lambda: "finishing what is in hand" in worker.log.read_text(), "SIGTERM has arrived")
    stopping.join()
    assert worker.popen.returncode == 0
    job = api.job(job["id"])
    assert (job["state"], job["chunks"]["redelivered"]) == ("succeeded", 0)


def test_a_worker_gives_back_what_it_cannot_finish(backend: Backend, dsn: str) -> None:
    backend.start_api()
    api, feed = backend.client(), feeds.rows(400, seed=17)
    worker = backend.start_worker(DRAIN_TIMEOUT_SECONDS="0.5")
    with stock_locked(dsn):
        job = api.post(feeds.as_csv(feed)).json()
        wait_until(lambda: is_in_mid_chunk(dsn), "the worker is in mid-chunk")
        assert worker.terminate() == 0
        assert "they are given back" in worker.log.read_text()
    backend.start_worker()
    job = api.ended(job["id"])
    assert (job["state"], job["rows"]["imported"], job["chunks"]["redelivered"]) == ("succeeded", 400, 1)
    assert feeds.exported(api.export()) == feeds.catalogue(feed)


def test_lost_database_connections_cost_nothing(backend: Backend, dsn: str) -> None:
    """As a failover does it: every connection dies, again and again."""
    backend.start_api()
    backend.start_worker()
    api, feed = backend.client(), feeds.rows(10_000, seed=15, keys=6_000)
    stop = threading.Event()
    cuts: list[int] = []

    def cut() -> None:
        """Less and less often: on a busy machine nothing might be done between two cuts."""
        pause_seconds = 0.4
        with psycopg.connect(dsn, autocommit=True) as conn:
            while not stop.is_set():
                cuts.append(len(conn.execute(CUT).fetchall()))
                stop.wait(pause_seconds)
                pause_seconds *= 1.2

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        job = api.feed(feeds.as_csv(feed))
    finally:
        stop.set()
        cutter.join()
    assert sum(cuts) >= 2
    assert job["state"] == "succeeded"
    assert job["rows"] == {"received": 10_000, "imported": 10_000, "rejected": 0}
    assert feeds.exported(api.export()) == feeds.catalogue(feed)


def test_an_import_is_accepted_without_a_broker_and_done_when_there_is_one(backend: Backend) -> None:
    backend.start_api(RABBITMQ_URL="amqp://app:x@127.0.0.1:9/%2F")
    api = backend.client()
    job = api.post(feeds.as_csv(feeds.rows(600, seed=16))).json()
    assert job["state"] == "queued"
    backend.start_worker()  # its relay finds what the API's could not send
    assert api.ended(job["id"])["state"] == "succeeded"
