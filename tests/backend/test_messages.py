"""Messages: hopeless ones end in the dead letters with their reason, repeated ones change nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aio_pika
import psycopg

from tests.backend.kit import feeds
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.backend.kit.processes import Backend

Dead = tuple[bytes, "Mapping[str, Any]"]


def publish(url: str, queue: str, body: bytes, times: int = 1) -> None:
    async def run() -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            for _ in range(times):
                await channel.default_exchange.publish(aio_pika.Message(body, message_id="test"), queue)

    asyncio.run(run())


def dead_letters(url: str, queue: str) -> list[Dead]:
    """Body and headers of what lies in a dead-letter queue; it is taken out."""

    async def run() -> list[Dead]:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            dead = await channel.get_queue(f"{queue}.dead", ensure=False)
            found: list[Dead] = []
            while message := await dead.get(fail=False):
                found.append((message.body, dict(message.headers)))
                await message.ack()
            return found

    return asyncio.run(run())


POISON = {
    b"\xff not json": "the message is not JSON",
    b"[1]": "the message's kind is unknown: None",
    b'{"kind": "what"}': "the message's kind is unknown: 'what'",
    b'{"kind": "import.chunk"}': "the message has no valid chunk",
    b'{"kind": "export.run", "export_id": 7}': "the message has no valid export_id",
}


def test_poisoned_messages_end_in_the_dead_letters_with_their_reasons(backend: Backend, rabbitmq: str) -> None:
    queues = ("bulk", "notifications")
    for queue in queues:
        for body in POISON:
            publish(rabbitmq, queue, body)
    worker = backend.start_worker()
    for queue in queues:
        series = f'appstack_messages_total{{outcome="dead",queue="{queue}"}}'
        wait_until(lambda series=series: worker.metrics().get(series) == len(POISON), "all are answered")  # type: ignore[misc]
        letters = dead_letters(rabbitmq, queue)
        assert {body: headers["x-reason"] for body, headers in letters} == POISON
        assert {headers["x-queue"] for _, headers in letters} == {queue}


def test_a_chunk_that_cannot_be_stored_fails_its_import_and_keeps_the_others(
    backend: Backend, dsn: str, rabbitmq: str
) -> None:
    backend.start_api()
    api, feed = backend.client(), feeds.rows(1_500, seed=21)
    job = api.post(feeds.as_csv(feed)).json()
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE import_chunks SET payload = 'no columns' WHERE number = 1")
    backend.start_worker()
    job = api.ended(job["id"])
    assert (job["state"], job["code"]) == ("failed", "IMPORT_CHUNK_FAILED")
    assert job["rows"] == {"received": 1_500, "imported": 1_000, "rejected": 0}
    assert feeds.exported(api.export()) == feeds.catalogue(feed[:500] + feed[1_000:])
    (letter,) = dead_letters(rabbitmq, "bulk")
    assert json.loads(letter[0])["chunk"] == 1
    assert "InvalidTextRepresentation" in letter[1]["x-reason"]


def waiting_for_locks(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as conn:
        sql = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return len(conn.execute(sql).fetchall())


def test_a_message_that_kills_every_worker_is_buried_in_the_end(backend: Backend, dsn: str, rabbitmq: str) -> None:
    backend.start_api()
    api = backend.client()
    with psycopg.connect(dsn) as conn:
        conn.execute("LOCK TABLE stock IN EXCLUSIVE MODE")  # so that no worker ever finishes it
        job = api.post(feeds.as_csv(feeds.rows(10, seed=22))).json()
        for taken in (1, 2):
            worker = backend.start_worker(WORKER_MAX_DELIVERIES="2")
            wait_until(lambda taken=taken: waiting_for_locks(dsn) == taken, "the worker has it in hand")  # type: ignore[misc]
            worker.kill()
        backend.start_worker(WORKER_MAX_DELIVERIES="2")
        (letter,) = wait_until(lambda: dead_letters(rabbitmq, "bulk"), "a dead letter")
    assert letter[1]["x-reason"] == "delivered 2 times without an answer"
    assert api.ended(job["id"])["code"] == "IMPORT_CHUNK_FAILED"


def test_a_message_delivered_again_after_it_was_done_changes_nothing(backend: Backend, rabbitmq: str) -> None:
    backend.start_api()
    worker = backend.start_worker()
    api, feed = backend.client(), feeds.rows(300, seed=23)
    job = api.feed(feeds.as_csv(feed))
    body = json.dumps({"kind": "import.chunk", "import_id": job["id"], "chunk": 0}).encode()
    publish(rabbitmq, "bulk", body, times=3)
    wait_until(lambda: worker.log.read_text().count("the chunk was applied before") == 3, "all three were seen")
    assert api.job(job["id"])["rows"] == job["rows"]
    assert feeds.exported(api.export()) == feeds.catalogue(feed)
