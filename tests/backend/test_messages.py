"""Messages: hopeless ones end in the dead letters with their reason, repeated ones change nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aio_pika
import psycopg
import pytest
from psycopg.errors import ConfigurationLimitExceeded, DiskFull

from appstack_backend.broker import LATER_SECONDS
from appstack_backend.imports.apply import ChunkRef, apply_chunk, bury_chunk
from appstack_backend.repository import imports
from tests.backend.kit import feeds
from tests.backend.kit.processes import ADMIN_TOKEN, PATIENCE_SECONDS, wait_until
from tests.backend.test_queries import application

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
    worker = backend.start_worker(WORKER_UNKNOWN_SECONDS="0")
    for queue in queues:
        series = f'appstack_messages_total{{outcome="dead",queue="{queue}"}}'
        wait_until(lambda series=series: worker.metrics().get(series) == len(POISON), "all are answered")  # type: ignore[misc]
        letters = dead_letters(rabbitmq, queue)
        assert {body: headers["x-reason"] for body, headers in letters} == POISON
        assert {headers["x-queue"] for _, headers in letters} == {queue}


NEWER = b'{"kind": "of a newer version"}'


def test_messages_of_a_newer_version_wait_for_its_workers(backend: Backend, rabbitmq: str) -> None:
    """As in a rolling update, where an API is newer than this worker. Meanwhile it does what it can do."""
    for _ in range(10):  # more than it works on at once
        publish(rabbitmq, "bulk", NEWER)
    backend.start_api()
    worker = backend.start_worker(WORKER_UNKNOWN_SECONDS=str(3 * LATER_SECONDS))
    put_off = 'appstack_messages_total{outcome="put_off",queue="bulk"}'
    began = time.monotonic()
    wait_until(lambda: worker.metrics().get(put_off) == 10, "all are put off")
    assert backend.client().feed(feeds.as_csv(feeds.rows(10, seed=28)))["state"] == "succeeded"
    wait_until(lambda: worker.metrics()[put_off] >= 20, "they come again")
    assert worker.metrics()[put_off] <= 10 * (1 + (time.monotonic() - began) / LATER_SECONDS), "no more often than that"
    worker.kill()
    assert dead_letters(rabbitmq, "bulk") == []
    found = wait_until(lambda: f if len(f := waiting(rabbitmq, "bulk")) == 10 else None, "a newer worker gets all")
    assert found == [NEWER] * 10

    worker = backend.start_worker(WORKER_UNKNOWN_SECONDS=str(3 * LATER_SECONDS))
    wait_until(lambda: worker.metrics().get(put_off.replace("put_off", "dead")) == 10, "none came: they are given up")
    letters = dead_letters(rabbitmq, "bulk")
    assert {headers["x-reason"] for _, headers in letters} == {"the message's kind is unknown: 'of a newer version'"}


def waiting(url: str, queue: str) -> list[bytes]:
    """What lies in a queue; it stays there."""

    async def run() -> list[bytes]:
        async with await aio_pika.connect(url) as connection:
            ours = await (await connection.channel()).get_queue(queue, ensure=False)
            found: list[bytes] = []
            while message := await ours.get(fail=False):
                found.append(message.body)
            return found

    return asyncio.run(run())


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


def command(backend: Backend, *args: str) -> list[dict[str, Any]]:
    """What the dead-letters command prints."""
    return [json.loads(line) for line in backend.run("dead-letters", *args).log.read_text().splitlines()]


def test_dead_letters_are_looked_at_sent_back_and_dropped(backend: Backend, dsn: str) -> None:
    """What failed is mended by a person, sent back, and the import succeeds after all."""
    backend.start_api()
    api, feed = backend.client(), feeds.rows(1_500, seed=24)
    job = api.post(feeds.as_csv(feed)).json()
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT number, payload FROM import_chunks WHERE number IN (0, 1)")
        conn.execute("UPDATE import_chunks SET payload = 'no columns' WHERE number IN (0, 1)")
    backend.start_worker()
    job = api.ended(job["id"])
    assert (job["state"], job["code"], job["rows"]["imported"]) == ("failed", "IMPORT_CHUNK_FAILED", 500)
    for _ in range(2):  # looking changes nothing
        letters = command(backend, "list", "bulk")
        assert {letter["message_id"][-2:] for letter in letters} == {"/0", "/1"}
    assert "InvalidTextRepresentation" in letters[0]["reason"] and letters[0]["resent"] == 0
    (whole,) = command(backend, "show", "bulk", letters[0]["message_id"])
    assert json.loads(whole["body"])["import_id"] == job["id"]

    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE import_chunks c SET payload = k.payload FROM kept k WHERE c.number = k.number")
    first = letters[0]["message_id"]
    assert [sent["message_id"] for sent in command(backend, "resend", "bulk", first)] == [first]
    wait_until(lambda: api.job(job["id"])["rows"]["imported"] == 1_000, "the first one is applied")
    assert api.job(job["id"])["code"] == "IMPORT_CHUNK_FAILED"
    command(backend, "resend", "bulk", "--all")
    wait_until(lambda: api.job(job["id"])["state"] == "succeeded", "the import is healed")
    assert api.job(job["id"])["rows"] == {"received": 1_500, "imported": 1_500, "rejected": 0}
    assert feeds.exported(api.export()) == feeds.catalogue(feed)
    assert command(backend, "list", "bulk") == []


async def test_a_letter_of_a_cancelled_import_applies_nothing_more(dsn: str) -> None:
    """Somebody wanted no more of it; what was applied before stays."""
    async with application(dsn, import_chunk_rows=1) as (http, stores):
        body, headers = feeds.as_csv(feeds.rows(2, seed=27)), {"Content-Type": "text/csv"}
        job = (await http.post("/v1/imports", content=body, headers=headers)).json()
        dead, other = (ChunkRef(UUID(job["id"]), number, is_redelivered=False) for number in range(2))
        await stores.database.run(lambda conn: bury_chunk(conn, dead))
        assert (await http.delete(f"/v1/imports/{job['id']}")).json()["state"] == "cancelled"
        resent = ChunkRef(dead.import_id, dead.number, is_redelivered=False, is_resent=True)
        for ref in (other, resent, resent):
            assert await stores.database.run(partial(apply_chunk, ref=ref)) == 0
        assert (await http.get("/v1/products")).json()["items"] == []
        shown = (await http.get(f"/v1/imports/{job['id']}")).json()
        assert (shown["state"], shown["rows"]["imported"], shown["chunks"]["done"]) == ("cancelled", 0, 2)


@pytest.mark.parametrize("is_received", [True, False])
async def test_an_import_succeeds_whose_dead_chunk_is_applied_before_the_others(dsn: str, is_received: bool) -> None:
    """A person was quick, and the import long: it goes on as if nothing had been."""
    async with application(dsn, import_chunk_rows=1) as (http, stores):
        body, headers = feeds.as_csv(feeds.rows(3, seed=29)), {"Content-Type": "text/csv"}
        job = (await http.post("/v1/imports", content=body, headers=headers)).json()
        if not is_received:  # its last bytes are on their way
            await stores.database.execute("UPDATE imports SET state = 'receiving', outcome = NULL")
        chunks = [ChunkRef(UUID(job["id"]), number, is_redelivered=False) for number in range(3)]
        resent = ChunkRef(chunks[0].import_id, 0, is_redelivered=False, is_resent=True)
        await stores.database.run(lambda conn: bury_chunk(conn, chunks[0]))
        shown = (await http.get(f"/v1/imports/{job['id']}")).json()
        assert shown["code"] == "IMPORT_CHUNK_FAILED"
        assert await stores.database.run(partial(apply_chunk, ref=resent)) == 1
        if not is_received:
            end = {"id": UUID(job["id"]), "receiver": 1, "outcome": "succeeded"}
            end |= {"code": None, "message": None, "sha256": b""}
            await imports.finish_upload(stores.database, end)
        for ref in chunks:
            await stores.database.run(partial(apply_chunk, ref=ref))
        shown = (await http.get(f"/v1/imports/{job['id']}")).json()
        assert (shown["state"], shown["code"], shown["rows"]["imported"]) == ("succeeded", None, 3)
        events = await stores.database.fetch_all("SELECT body FROM outbox WHERE queue = 'notifications'")
        assert [row["body"]["state"] for row in events] == ["succeeded"]


def cut_off(backend: Backend, body: bytes, sent: int, key: str) -> None:
    """Send the first bytes of a feed, and hang up."""
    head = (
        f"POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nContent-Type: text/csv\r\n"
        f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", backend.api_port)) as connection:
        connection.sendall(head.encode() + body[:sent])
        wait_until(lambda: backend.client().pages("/v1/jobs"), "the upload has begun")


FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '{}';
    END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON export_pieces EXECUTE FUNCTION full_disk()"""


@pytest.mark.parametrize("sqlstate", [DiskFull.sqlstate, ConfigurationLimitExceeded.sqlstate])
def test_an_export_that_finds_no_room_is_not_tried_for_ever(backend: Backend, dsn: str, sqlstate: str) -> None:
    """Each attempt would fill the disk of the database again, for everybody."""
    backend.start_api()
    worker = backend.start_worker()
    api = backend.client()
    api.feed(feeds.as_csv(feeds.rows(50, seed=25)))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(FULL.format(sqlstate).encode())
        location = api.http.post("/v1/exports", json={}).headers["Location"]
        ended = wait_until(lambda: e if (e := api.http.get(location).json())["finished_at"] else None, "it fails")
        assert (ended["state"], ended["code"]) == ("failed", "EXPORT_NO_ROOM")
        reasons = [line["reason"] for line in worker.lines() if line["event"] == "a message is hopeless"]
        assert reasons == ["the database has no room for the file"]
        told = [line["event"] for line in worker.lines()]
        assert not {"database work is repeated", "waiting for the database"} & set(told)
        conn.execute("DROP TRIGGER full_disk ON export_pieces")
    backend.run("dead-letters", "resend", "bulk", "--all")
    wait_until(lambda: api.http.get(location).json()["state"] == "succeeded", "with more room it is written")


def test_what_no_worker_could_apply_is_not_forgotten_when_the_upload_goes_on(backend: Backend, dsn: str) -> None:
    """A chunk dies, its sender hangs up, and comes again under its key: the rows are missing, and that is said."""
    backend.start_api()
    api, feed = backend.client(), feeds.rows(1_200, seed=25)
    body = feeds.as_csv(feed)
    cut_off(backend, body, len(body) * 9 // 10, key="cut")
    job = api.pages("/v1/jobs")[0]
    wait_until(lambda: api.job(job["id"])["code"], "the upload is over")
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE kept_first AS SELECT payload FROM import_chunks WHERE number = 0")
        conn.execute("UPDATE import_chunks SET payload = 'no columns' WHERE number = 0")
    backend.start_worker()
    job = api.ended(job["id"])
    assert (job["state"], job["code"]) == ("failed", "IMPORT_CHUNK_FAILED")
    resumed = api.feed(body, Idempotency_Key="cut")
    assert resumed["id"] == job["id"]
    assert (resumed["state"], resumed["code"], resumed["rows"]["imported"]) == ("failed", "IMPORT_CHUNK_FAILED", 700)

    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE import_chunks c SET payload = k.payload FROM kept_first k WHERE c.number = 0")
    command(backend, "resend", "bulk", "--all")
    wait_until(lambda: api.job(job["id"])["state"] == "succeeded", "the import is healed")
    assert feeds.exported(api.export()) == feeds.catalogue(feed)


def test_a_letter_that_is_dropped_is_printed_and_gone(backend: Backend, rabbitmq: str) -> None:
    publish(rabbitmq, "bulk", b"what")
    worker = backend.start_worker()
    series = 'appstack_messages_total{outcome="dead",queue="bulk"}'
    wait_until(lambda: worker.metrics().get(series), "it is a dead letter")
    (dropped,) = command(backend, "drop", "bulk", "--all")
    assert dropped["body"] == "what"
    assert command(backend, "list", "bulk") == []


def test_nothing_is_sent_back_or_dropped_by_accident(backend: Backend) -> None:
    for action in ("resend", "drop"):
        process = backend.start("dead-letters", action, "bulk")
        assert process.popen.wait(PATIENCE_SECONDS) == 2
        assert "--all" in process.log.read_text()
