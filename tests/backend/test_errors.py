"""Every error code, provoked over HTTP on real servers; none tells what is inside, each is found in the logs."""

from __future__ import annotations

import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.errors import DiskFull

from appstack_backend.errors import CATALOGUE, RowError
from tests.backend.kit import feeds
from tests.backend.kit.described import hold_to_description
from tests.backend.kit.odd import NOBODY, THING, assert_no_leak
from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.kit.world import World, without_database
from tests.backend.test_messages import FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(600)
FAILED = "request failed"
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'products'::regclass"
CASES: dict[str, Callable[[World], httpx.Response]] = {}


def provokes(code: str) -> Callable[[Callable[[World], httpx.Response]], Callable[[World], httpx.Response]]:
    """Register what provokes a code."""

    def register(case: Callable[[World], httpx.Response]) -> Callable[[World], httpx.Response]:
        CASES[code] = case
        return case

    return register


def as_reader(world: World) -> dict[str, str]:
    token = world.api.http.post("/v1/tokens", json={"name": "r", "scopes": ["read"]}).json()["token"]
    return {"Authorization": f"Bearer {token}"}


CASES |= {
    "REQUEST_INVALID": lambda w: w.api.http.get("/v1/products?limit=0"),
    "NOT_FOUND": lambda w: w.api.http.get(f"/v1/imports/{NOBODY}"),
    "METHOD_NOT_ALLOWED": lambda w: w.api.http.put("/v1/jobs"),
    "TOKEN_MISSING": lambda w: httpx.get(f"{w.api.http.base_url}/v1/jobs", timeout=PATIENCE_SECONDS),
    "TOKEN_INVALID": lambda w: w.api.http.get("/v1/jobs", headers={"Authorization": "Bearer nobody"}),
    "SCOPE_MISSING": lambda w: w.api.http.get("/v1/tokens", headers=as_reader(w)),
    "MEDIA_TYPE_UNSUPPORTED": lambda w: w.api.http.post("/v1/imports", content=b"x"),
    "WEBHOOK_URL_REFUSED": lambda w: w.api.http.post(
        "/v1/subscriptions", json={"url": "http://10.0.0.1/", "events": ["product.changed"]}
    ),
    "PRECONDITION_FAILED": lambda w: w.api.http.put("/v1/products/P", json=THING, headers={"If-Match": '"x"'}),
    "IMPORT_TRUNCATED": lambda w: w.api.post(gzip.compress(feeds.as_csv([]))[:-4], Content_Encoding="gzip"),
    "IMPORT_COMPRESSION_INVALID": lambda w: w.api.post(b"no gzip", Content_Encoding="gzip"),
    "IMPORT_HEADER_INVALID": lambda w: w.api.post(b"sku,name\n"),
}
ROWS = {
    "IMPORT_ROW_INVALID": b"A,n,c,s,1,eur,1,m",
    "IMPORT_ROW_MALFORMED": b'A,"n"x,c,s,1,EUR,1,m',
    "IMPORT_COLUMN_MISSING": b",n,c,s,1,EUR,1,m",
    "IMPORT_NUMBER_INVALID": b"A,n,c,s,1e9,EUR,1,m",
    "IMPORT_ENCODING_INVALID": b"A,\xff,c,s,1,EUR,1,m",
    "IMPORT_LINE_TOO_LONG": b"A," + b"n" * 70_000 + b",c,s,1,EUR,1,m",
}


@provokes("IDEMPOTENCY_KEY_REUSED")
def key_reused(w: World) -> httpx.Response:
    assert w.api.post(feeds.as_csv(feeds.rows(1, seed=1)), Idempotency_Key="one").is_success
    return w.api.post(feeds.as_csv(feeds.rows(1, seed=2)), Idempotency_Key="one")


@contextmanager
def uploading(w: World, key: str) -> Iterator[str]:
    """An upload that stands half-way; the id of its import."""
    may_end, known = threading.Event(), {job["id"] for job in w.api.pages("/v1/jobs")}

    def body() -> Iterator[bytes]:
        yield feeds.as_csv(feeds.rows(1_000, seed=3))
        may_end.wait(PATIENCE_SECONDS)
        yield b"B,n,c,s,1,EUR,1,m\n"

    sender = threading.Thread(target=lambda: w.api.post(body(), Idempotency_Key=key))
    sender.start()
    try:
        yield wait_until(lambda: [j["id"] for j in w.api.pages("/v1/jobs") if j["id"] not in known], "it began")[0]
    finally:
        may_end.set()
        sender.join()


@provokes("BODY_TOO_SLOW")
def body_too_slow(w: World) -> httpx.Response:
    def body() -> Iterator[bytes]:
        yield b"{"
        time.sleep(3)
        yield b"}"

    return w.start_api("hasty", BODY_SECONDS="0.3").http.post("/v1/tokens", content=body())


@provokes("SEARCHES_BUSY")
def searches_busy(w: World) -> httpx.Response:
    http = w.start_api("one search", DATABASE_POOL_SIZE="3", DATABASE_PATIENCE_SECONDS="1").http
    with psycopg.connect(w.dsn) as conn, ThreadPoolExecutor(1) as threads:
        conn.execute("LOCK TABLE products")  # so a search does not end
        first = threads.submit(http.get, "/v1/products?q=one")
        with psycopg.connect(w.dsn, autocommit=True) as other:
            wait_until(lambda: other.execute(WAITING).fetchone(), "it waits in PostgreSQL")
        answer = http.get("/v1/products?q=other")
        conn.rollback()
        assert first.result().is_success
        return answer


@provokes("UPLOADS_BUSY")
def uploads_busy(w: World) -> httpx.Response:
    with uploading(w, "busy-1"):
        return w.api.post(feeds.as_csv([]))


@provokes("IDEMPOTENCY_KEY_BUSY")
def key_busy(w: World) -> httpx.Response:
    with uploading(w, "busy-2"):
        return w.start_api("second").post(feeds.as_csv([]), Idempotency_Key="busy-2")


@provokes("IMPORT_CANCELLED")
def cancelled(w: World) -> httpx.Response:
    with uploading(w, "cancelled") as job_id:
        assert w.api.http.delete(f"/v1/imports/{job_id}").json()["state"] == "cancelled"
    return w.api.post(feeds.as_csv([]), Idempotency_Key="cancelled")


@provokes("IMPORT_FINISHED")
def finished(w: World) -> httpx.Response:
    job = w.api.feed(feeds.as_csv([]))
    return w.api.http.delete(f"/v1/imports/{job['id']}")


@provokes("IMPORT_CHUNK_FAILED")
def chunk_failed(w: World) -> httpx.Response:
    trigger = "ALTER TABLE products ADD CONSTRAINT none CHECK (name <> 'poison') NOT VALID"
    with w.sql(trigger, "ALTER TABLE products DROP CONSTRAINT none"):
        job = w.api.feed((feeds.HEADER + "Z,poison,c,s,1,EUR,1,m\n").encode())
    return w.api.http.get(f"/v1/imports/{job['id']}")


@provokes("EXPORT_NOT_READY")
def export_not_ready(w: World) -> httpx.Response:
    with psycopg.connect(w.dsn) as conn:
        conn.execute("LOCK TABLE export_pieces IN EXCLUSIVE MODE")
        export = w.api.http.post("/v1/exports", json={}).json()
        return w.api.http.get(f"/v1/exports/{export['id']}/content")


@provokes("EXPORT_NO_ROOM")
def export_no_room(w: World) -> httpx.Response:
    with w.sql(FULL.format(DiskFull.sqlstate), "DROP FUNCTION full_disk CASCADE"):
        location = w.api.http.post("/v1/exports", json={}).headers["Location"]
        return wait_until(lambda: e if (e := w.api.http.get(location)).json()["finished_at"] else None, "it fails")


@provokes("RANGE_NOT_SATISFIABLE")
def range_not_satisfiable(w: World) -> httpx.Response:
    location = w.api.http.post("/v1/exports", json={}).headers["Location"]
    wait_until(lambda: w.api.http.get(location).json()["state"] == "succeeded", "the export succeeds")
    return w.api.http.get(f"{location}/content", headers={"Range": "bytes=999999999-"})


@provokes("SUBSCRIPTIONS_TOO_MANY")
def subscriptions_too_many(w: World) -> httpx.Response:
    http = w.start_api("one subscription", SUBSCRIPTIONS_MAX="1").http
    wanted = {"url": "https://192.0.0.9/", "events": ["product.changed"]}
    return [http.post("/v1/subscriptions", json=wanted) for _ in range(2)][1]


@provokes("EXPORTS_TOO_MANY")
def exports_too_many(w: World) -> httpx.Response:
    http = w.start_api("one export", EXPORT_MAX_RUNNING="1").http
    with psycopg.connect(w.dsn) as conn:
        conn.execute("LOCK TABLE export_pieces IN EXCLUSIVE MODE")  # so the first does not end
        http.post("/v1/exports", json={})
        return http.post("/v1/exports", json={})


@provokes("INTERNAL_ERROR")
def internal_error(w: World) -> httpx.Response:
    broken = "ALTER TABLE exports ADD CONSTRAINT none CHECK (format = 'none') NOT VALID"
    with w.sql(broken, "ALTER TABLE exports DROP CONSTRAINT none"):
        return w.api.http.post("/v1/exports", json={})


@provokes("SCHEMA_NOT_READY")
def schema_not_ready(w: World) -> httpx.Response:
    with w.sql("ALTER TABLE imports RENAME TO moved", "ALTER TABLE moved RENAME TO imports"):
        return w.api.http.get("/v1/jobs")


@provokes("RATE_LIMITED")
def rate_limited(w: World) -> httpx.Response:
    http = w.start_api("limited", RATE_LIMIT_PER_SECOND="0.01", RATE_LIMIT_BURST="1", APPSTACK_NAME=uuid4().hex).http
    assert http.get("/v1/jobs").is_success
    return http.get("/v1/jobs")


@provokes("DATABASE_UNAVAILABLE")
def database_unavailable(w: World) -> httpx.Response:
    api = w.start_api("cut off", DATABASE_PATIENCE_SECONDS="0")
    with without_database(w):
        return api.http.get("/v1/jobs")


@provokes("SHUTTING_DOWN")
def shutting_down(w: World) -> httpx.Response:
    api = w.start_api("leaving", DRAIN_PAUSE_SECONDS="30")
    w.backend.started[-1].popen.terminate()
    return wait_until(lambda: r if (r := api.http.get("/readyz")).status_code == 503 else None, "it is unready")


def test_every_code_has_a_case() -> None:
    assert CASES.keys() | ROWS.keys() == CATALOGUE.keys()
    assert {code for code, error in CATALOGUE.items() if issubclass(error, RowError)} == ROWS.keys()


@pytest.mark.parametrize("code", sorted(CASES))
def test_a_code_is_provoked(world: World, code: str) -> None:
    answer = CASES[code](world)
    error, told = CATALOGUE[code], answer.json()
    if answer.is_success:  # a job that failed tells the code in its state
        job = told if told["finished_at"] else world.api.ended(told["id"])
        assert (job["state"], job["code"], job["error"]["code"]) == ("failed", code, code)
        assert job["error"]["message"]
        assert_no_leak(json.dumps(job["error"]))
        wait_until(lambda: cause_of(world, job["request_id"], code), "its request id finds why")
        return
    assert (answer.status_code, told["code"], told["title"]) == (error.status, code, error.title)
    assert answer.headers["Content-Type"] == "application/problem+json"
    hold_to_description(answer)
    assert told["status"] == error.status and told["type"].endswith(code.lower())
    assert ("Retry-After" in answer.headers) == (error.retry_after_seconds is not None or code == "RATE_LIMITED")
    assert told["request_id"] == answer.headers["X-Request-Id"]
    assert_no_leak(answer.text)
    lines = wait_until(lambda: log_lines(world, told["request_id"]), "its log lines")
    assert (code, error.log_level) in {(line.get("code"), line["level"]) for line in lines if line["event"] == FAILED}


@pytest.mark.parametrize("code", sorted(ROWS))
def test_a_row_error_is_provoked(world: World, code: str) -> None:
    job = world.api.feed(feeds.HEADER.encode() + ROWS[code] + b"\nGOOD,n,c,s,1,EUR,1,m\n")
    assert (job["state"], job["rows"]) == ("succeeded", {"received": 2, "imported": 1, "rejected": 1})
    (row,) = world.api.pages(f"/v1/imports/{job['id']}/errors")
    assert (row["line"], row["code"]) == (2, code)
    assert_no_leak(row["message"])


def cause_of(world: World, request_id: str, code: str) -> list[dict[str, Any]]:
    """The lines that tell why a job failed: of the request itself, or of the message that was given up."""
    lines = [line for p in world.backend.started for line in p.lines() if line.get("request_id") == request_id]
    return [line for line in lines if line.get("code") == code or line["event"] == "a message is hopeless"]


def log_lines(world: World, request_id: str) -> list[dict[str, Any]]:
    """What any process logged about a request, once a line tells its code."""
    lines = [line for p in world.backend.started for line in p.lines() if line.get("request_id") == request_id]
    return lines if any("code" in line for line in lines) else []
