"""Limits that keep one from harming the others: guessers of tokens, and webhook targets that are slow."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import httpx
import psycopg
import redis

from tests.backend.kit import feeds
from tests.backend.kit.processes import ADMIN_TOKEN, PATIENCE_SECONDS, wait_until
from tests.backend.kit.receiver import receiver
from tests.backend.kit.servers import url_of_master
from tests.backend.test_api import code
from tests.backend.test_webhooks import PRIVATE, THING, deliveries, subscribe

NO_REDIS = {"REDIS_SENTINELS": "", "REDIS_SENTINEL_MASTER": "", "REDIS_URL": ""}

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend.kit.processes import Backend


def test_who_guesses_tokens_is_stopped_and_nobody_else_is(backend: Backend) -> None:
    backend.start_api(AUTH_FAILURES_PER_MINUTE="3", TRUSTED_PROXIES="1")
    api = backend.client()
    token = api.http.post("/v1/tokens", json={"name": "n", "scopes": ["read"]}).json()["token"]
    with httpx.Client(base_url=api.http.base_url, timeout=PATIENCE_SECONDS) as anybody:

        def tried(token: str, address: str) -> httpx.Response:
            # What a client itself says of its origin stands first, and is not believed.
            headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"192.0.2.{token[-1]}, {address}"}
            return anybody.get("/v1/jobs", headers=headers)

        assert tried(token, "203.0.113.1").is_success
        guesses = [tried(f"guess-{number}", "203.0.113.1") for number in range(5)]
        assert [code(answer)[1] for answer in guesses] == ["TOKEN_INVALID"] * 3 + ["RATE_LIMITED"] * 2
        assert 0 < int(guesses[-1].headers["Retry-After"]) <= 20
        assert tried(token, "203.0.113.1").is_success, "a good token from the same address"
        assert code(tried("guess-7", "203.0.113.2"))[1] == "TOKEN_INVALID", "another address"
        assert api.http.get("/v1/jobs").is_success


def test_guesses_are_counted_over_all_instances_and_by_each_one_without_redis(backend: Backend) -> None:
    backend.start_api(AUTH_FAILURES_PER_MINUTE="3")
    first = backend.client().http
    backend.start_api(AUTH_FAILURES_PER_MINUTE="3")
    second = backend.client().http
    token = first.post("/v1/tokens", json={"name": "n", "scopes": ["read"]}).json()["token"]
    late = first.post("/v1/tokens", json={"name": "late", "scopes": ["read"]}).json()["token"]

    def told(api: httpx.Client, token: str) -> str:
        answer = api.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"})
        return "good" if answer.is_success else code(answer)[1]

    assert told(first, token) == told(second, token) == "good"
    guesses = [told(api, f"guess-{number}") for number, api in enumerate((first, second, first, second, first))]
    assert guesses == ["TOKEN_INVALID"] * 3 + ["RATE_LIMITED"] * 2
    assert told(second, late) == "RATE_LIMITED", "it might be a guess as well"
    assert told(first, token) == told(second, token) == "good"
    backend.start_api(AUTH_FAILURES_PER_MINUTE="3", **NO_REDIS)
    alone = backend.client().http
    assert [told(alone, f"guess-{number}") for number in range(4)] == ["TOKEN_INVALID"] * 3 + ["RATE_LIMITED"]


def test_a_token_in_use_costs_no_round_trip_for_guesses(backend: Backend) -> None:
    backend.start_api()
    api = backend.client().http
    token = api.post("/v1/tokens", json={"name": "n", "scopes": ["read"]}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    with redis.Redis.from_url(url_of_master(backend.environment)) as server:

        def scripts() -> int:
            return int(server.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])

        assert api.get("/v1/suppliers", headers=headers).is_success
        before = scripts()
        for _ in range(20):
            assert api.get("/v1/suppliers", headers=headers).is_success
        assert scripts() - before == 20, "limit, session and cache, in one"


def test_a_token_has_so_many_unfinished_exports_also_if_it_orders_many_at_once(backend: Backend) -> None:
    backend.start_api(EXPORT_MAX_RUNNING="3")
    api = backend.client()

    def orders(count: int) -> list[httpx.Response]:
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda _: api.http.post("/v1/exports", json={}), range(count)))

    answers = orders(20)
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 17
    refused = next(answer for answer in answers if answer.is_error)
    assert code(refused) == (429, "EXPORTS_TOO_MANY") and refused.headers["Retry-After"]
    other = api.http.post("/v1/tokens", json={"name": "n", "scopes": ["read"]}).json()["token"]
    headers = {"Authorization": f"Bearer {other}"}
    assert api.http.post("/v1/exports", json={}, headers=headers).is_success, "another token"
    backend.start_worker()
    wait_until(lambda: {job["state"] for job in api.pages("/v1/jobs")} == {"succeeded"}, "all are written")
    assert [answer.status_code for answer in orders(3)] == [202] * 3, "those that ended do not count"


def test_a_token_has_so_many_subscriptions_also_if_it_makes_many_at_once(backend: Backend) -> None:
    backend.start_api(SUBSCRIPTIONS_MAX="3")
    api, wanted = backend.client(), {"url": "https://192.0.0.9/", "events": ["product.changed"]}

    def made(count: int, **headers: str) -> list[httpx.Response]:
        with ThreadPoolExecutor(count) as threads:
            post = partial(api.http.post, "/v1/subscriptions", json=wanted, headers=headers)
            return list(threads.map(lambda _: post(), range(count)))

    answers = made(20)
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 17
    assert code(next(answer for answer in answers if answer.is_error)) == (409, "SUBSCRIPTIONS_TOO_MANY")
    other = api.http.post("/v1/tokens", json={"name": "n", "scopes": ["write"]}).json()["token"]
    assert [answer.status_code for answer in made(1, Authorization=f"Bearer {other}")] == [201], "another token"
    first = next(answer for answer in answers if answer.is_success)
    assert api.http.delete(first.headers["Location"]).is_success
    assert sorted(answer.status_code for answer in made(2)) == [201, 409], "one that was ended does not count"


def test_searches_leave_connections_to_others(backend: Backend, dsn: str) -> None:
    """More of them at once than there are connections; none ends."""
    backend.start_api(DATABASE_POOL_SIZE="4", DATABASE_PATIENCE_SECONDS="60")
    http = backend.client().http
    with ThreadPoolExecutor(20) as threads, psycopg.connect(dsn) as conn:
        conn.execute("LOCK TABLE products")
        queries = ("q=some", "category=some&supplier=other")
        searches = [threads.submit(http.get, f"/v1/products?{queries[n % 2]}") for n in range(20)]
        with psycopg.connect(dsn, autocommit=True) as other:
            waiting = "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND relation = 'products'::regclass"
            wait_until(lambda: (other.execute(waiting).fetchone() or (False,))[0], "two of them wait in PostgreSQL")
        assert http.get("/v1/jobs").is_success
        assert not any(search.done() for search in searches)
        conn.rollback()
        assert [search.result().status_code for search in searches] == [200] * 20


def drip(port: int, path: str, media_type: str, first: bytes) -> tuple[float, bytes]:
    """Send a long body byte by byte; after how many seconds it was answered, and with what."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        f"Content-Type: {media_type}\r\nContent-Length: 9999\r\n\r\n"
    )
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.2)
        connection.sendall(head.encode() + first)
        while time.monotonic() - began < 60:
            try:
                return time.monotonic() - began, connection.recv(65536)
            except TimeoutError:
                connection.sendall(b" ")
    return 60, b""


def test_who_sends_byte_by_byte_keeps_no_place_for_ever(backend: Backend) -> None:
    backend.start_api(IMPORT_MAX_UPLOADS="1", IMPORT_PATIENCE_SECONDS="10", BODY_SECONDS="2")
    backend.start_worker()
    api = backend.client()
    with ThreadPoolExecutor(3) as threads:
        json, upload = (
            threads.submit(drip, backend.api_port, path, media_type, first)
            for path, media_type, first in (
                ("/v1/tokens", "application/json", b"{"),
                ("/v1/imports", "text/csv", feeds.as_csv(feeds.rows(3, seed=61))),
            )
        )
        # Whoever asks for the place before would take it away from that one.
        wait_until(lambda: api.pages("/v1/jobs"), "the upload has begun")
        assert api.post(feeds.as_csv([])).status_code == 503, "the only place is taken"
        wait_until(lambda: api.post(feeds.as_csv([])).status_code == 202, "the place is free again")
        for asked, wanted in ((json, b"BODY_TOO_SLOW"), (upload, b"202 Accepted")):
            seconds, answer = asked.result()
            assert wanted in answer and 2 <= seconds < 60, (seconds, answer)
    (cut,) = (job for job in api.pages("/v1/jobs") if job["rows"]["received"])
    assert (cut["code"], cut["error"]["message"]) == ("IMPORT_TRUNCATED", "the body came too slowly")
    assert cut["rows"]["received"] == 3, "the complete rows are kept"


def test_who_sends_enough_may_take_pauses(backend: Backend) -> None:
    """Each of them shorter than the patience, all together longer."""
    backend.start_api(IMPORT_PATIENCE_SECONDS="10")
    backend.start_worker()

    def pieces() -> Iterator[bytes]:
        body = feeds.as_csv(feeds.rows(1_000, seed=62))
        for at in range(0, len(body), len(body) // 5 + 1):
            yield body[at : at + len(body) // 5 + 1]
            time.sleep(2.2)

    assert backend.client().feed(pieces())["rows"]["received"] == 1_000


def test_slow_targets_keep_no_other_waiting(backend: Backend) -> None:
    """Each of them has more to be told than there are places of the worker; none ever answers."""
    backend.start_api(**PRIVATE)
    api = backend.client()
    backend.start_worker(
        **PRIVATE, WORKER_CONCURRENCY="1", WEBHOOK_TARGET_CONCURRENCY="2", WEBHOOK_TIMEOUT_SECONDS="60"
    )
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent, receiver() as healthy:
        slow = subscribe(api, f"http://127.0.0.1:{silent.getsockname()[1]}/", "product.changed")
        for number in range(20):
            assert api.http.put(f"/v1/products/S{number}", json=THING).is_success
        wait_until(lambda: len(deliveries(api, slow)) == 20, "all its deliveries are made")
        fine = subscribe(api, healthy.url, "product.changed")
        assert api.http.put("/v1/products/A", json=THING).is_success
        wait_until(lambda: healthy.got, "the healthy target hears of it while the slow one is asked")
        wait_until(lambda: [d["state"] for d in deliveries(api, fine)] == ["delivered"], "that is recorded")
        told = deliveries(api, slow)
        assert {(d["state"], d["attempts"]) for d in told} == {("pending", 0)}, "waiting is no attempt"
        assert sum(d["next_attempt_at"] is None for d in told) < 20


def test_a_target_that_is_slow_and_answers_keeps_no_other_waiting(backend: Backend, dsn: str) -> None:
    """Hundreds wait for it, and its breaker never opens: those that find no place cost next to nothing."""
    backend.start_api(**PRIVATE)
    api = backend.client()
    with receiver(seconds=2.0) as slow, receiver() as healthy:
        waiting = subscribe(api, slow.url, "product.changed")
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "INSERT INTO deliveries (id, subscription_id, event_id, event, payload, request_id, next_attempt_at)"
                " SELECT gen_random_uuid(), %s, n::text, 'product.changed', '{}', 'r', now()"
                " FROM generate_series(1, 600) n",
                (waiting["id"],),
            )
        worker = backend.start_worker(**PRIVATE, WORKER_CONCURRENCY="1", WEBHOOK_TARGET_CONCURRENCY="2")
        deferred = 'appstack_webhooks_total{outcome="deferred"}'
        wait_until(lambda: worker.metrics().get(deferred, 0) > 100, "many find no place")
        subscribe(api, healthy.url, "product.changed")
        seconds = []
        for number in range(5):
            began = time.monotonic()
            assert api.http.put(f"/v1/products/A{number}", json=THING).is_success
            wait_until(lambda: len(healthy.got) > number, "the healthy target hears of it")  # noqa: B023
            seconds.append(time.monotonic() - began)
        assert max(seconds) < 60, seconds  # behind the slow one's 600, two seconds each, it would be minutes
        wait_until(lambda: slow.got, "the slow one hears as well")
