"""Services that answer wrongly: with noise, half, in another shape, or with what is inside; no client hears of it."""

from __future__ import annotations

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.backend.kit import feeds
from tests.backend.kit.impostor import impostor
from tests.backend.kit.odd import NOBODY, THING, assert_no_leak, odd_request
from tests.backend.kit.processes import wait_until
from tests.backend.kit.servers import url_of_master

if TYPE_CHECKING:
    import httpx

    from tests.backend.kit.impostor import Lie
    from tests.backend.kit.processes import Api, Backend, Process

pytestmark = pytest.mark.timeout(900)
INSIDE = b"SELECT secret FROM tokens; /opt/app/db.py 127.0.0.1:5432"
NOISE = random.Random(3).randbytes(500)
SLOW_SECONDS = 60.0  # a limit for hangs


def postgres_says(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def refusal(sqlstate: bytes) -> bytes:
    return postgres_says(b"E", b"SERROR\0VERROR\0C" + sqlstate + b"\0M" + INSIDE + b"\0D" + INSIDE + b"\0\0")


SETTINGS = ((b"server_version", b"17.0"), (b"client_encoding", b"UTF8"), (b"standard_conforming_strings", b"on"))
READY = postgres_says(b"Z", b"I")
LOGIN = postgres_says(b"R", bytes(4)) + b"".join(postgres_says(b"S", b"%b\0%b\0" % pair) for pair in SETTINGS) + READY
COLUMN = postgres_says(
    b"T", b"\0\1" + b"?column?\0" + bytes(6) + (25).to_bytes(4) + b"\xff\xff" + b"\xff" * 4 + bytes(2)
)


def always(*answer: bytes) -> Lie:
    return answer * 50


POSTGRES: tuple[str, dict[str, Lie]] = (
    r"(?<=@)127\.0\.0\.1:(\d+)",
    {
        "noise": (NOISE,),
        "refuses the login": (refusal(b"XX000"),),
        "noise after the login": (LOGIN, NOISE),
        "half an answer": (LOGIN, COLUMN[:20]),
        **{
            f"refuses statements with {code.decode()}": (LOGIN, *always(refusal(code) + READY))
            for code in (b"XX000", b"57P01", b"42P01", b"23505", b"22P02", b"42501", b"25006")
        },
    },
)
# In the URL, where the port of the service stands; the lies by name.
LIES: dict[str, tuple[str, dict[str, Lie]]] = {
    "DATABASE_URL": POSTGRES,
    "DATABASE_READONLY_URL": POSTGRES,
    "REDIS_URL": (
        r"127\.0\.0\.1:(\d+)",
        {
            "noise": (NOISE,),
            "refuses everything": always(b"-ERR " + INSIDE + b"\r\n"),
            "refuses after the greeting": (b"+OK\r\n", b":1\r\n", *always(b"-ERR " + INSIDE + b"\r\n")),
            "half an answer": (b"+OK\r\n", b"$100\r\nhalf"),
            "another shape": always(b"*1\r\n:7\r\n"),
            "another shape within": (b"+OK\r\n", b":1\r\n", *always(b"*3\r\n:0\r\n*3\r\n:7\r\n:7\r\n:7\r\n:1\r\n")),
            "an entry of another kind": (
                *(b"+OK\r\n", b":1\r\n"),
                *always(b"*3\r\n:0\r\n*3\r\n$-1\r\n$48\r\n" + b"0" * 48 + b"\r\n:7\r\n:1\r\n"),
            ),
        },
    ),
    "REDIS_SENTINELS": (
        r"127\.0\.0\.1:(\d+)",
        {
            "noise": (NOISE,),
            "refuses everything": always(b"-ERR " + INSIDE + b"\r\n"),
            "no address": always(b"*2\r\n$4\r\nhere\r\n$5\r\nthere\r\n"),
            "a port that there cannot be": always(b"*2\r\n$9\r\n127.0.0.1\r\n$8\r\n99999999\r\n"),
            "a host that there cannot be": always(b"*2\r\n$4\r\na..b\r\n$4\r\n6379\r\n"),
            "no text": always(b":7\r\n"),
            "half an address": always(b"*1\r\n$4\r\nhere\r\n"),
        },
    ),
    "RABBITMQ_URL": (
        r"(?<=@)127\.0\.0\.1:(\d+)",
        {
            "noise": (NOISE,),
            "another protocol": (b"AMQP\0\0\x09\x01" + INSIDE,),
            "half a frame": (b"\x01\0\0\0\0\xff\0\0\x0a\0",),
        },
    ),
}


SAME = {"DATABASE_READONLY_URL": "DATABASE_URL"}  # one server plays both


@pytest.mark.parametrize("name", LIES)
def test_no_client_hears_what_a_lying_service_says(backend: Backend, name: str) -> None:
    """The service's own words are told by nobody, nobody hangs, and what does not need the service goes on."""
    pattern, lies = LIES[name]
    true = url_of_master(backend.environment) if name == "REDIS_URL" else backend.environment[SAME.get(name, name)]
    found = re.search(pattern, true)
    assert found is not None, true
    with impostor(int(found[1])) as service:
        address = f"127.0.0.1:{service.port}"
        environment = {name: re.sub(pattern, address, true)}
        if name == "DATABASE_URL":
            environment["DATABASE_PATIENCE_SECONDS"] = "0"  # elsewhere a busy machine may keep a connection waiting
        if name == "REDIS_SENTINELS":
            environment[name] = address  # the only one
        if name == "REDIS_URL":
            environment |= {"REDIS_SENTINELS": "", "REDIS_SENTINEL_MASTER": ""}
        if name in ("DATABASE_URL", *SAME):
            environment[name] += "?sslmode=disable"
        if name == "DATABASE_READONLY_URL":
            environment["REPLICA_MOST_STALE_SECONDS"] = "0.1"  # so soon after Redis was met it is read
        process = backend.start_api(**environment, REDIS_WATCH_SECONDS="0.2")
        api = backend.client()
        assert api.http.put("/v1/products/P", json=THING).is_success
        requests = the_usual(api)
        draw = random.Random(11)
        for what, lie in lies.items():
            service.tell(lie)
            sent = [*requests, *(odd_request(draw) for _ in range(10))]
            with ThreadPoolExecutor(8) as senders:
                answers = list(senders.map(lambda request: api.http.request(**request, timeout=SLOW_SECONDS), sent))
            for request, answer in zip(sent, answers, strict=True):
                assert_clean(answer, what)
                if name != "DATABASE_URL":
                    assert answer.status_code < 500, (what, request, answer.text)
            parts = lie.index(lie[-1]) + 1  # after which it goes on in the same way

            def is_told(parts: int = parts) -> bool:
                answer = api.http.get("/v1/products")
                assert name == "DATABASE_URL" or answer.is_success, answer.text
                return service.told >= parts

            wait_until(is_told, f"it is told: {what}")
        service.tell(None)
        wait_until(lambda: is_well(api, process), "all is well again")


def the_usual(api: Api) -> list[dict[str, Any]]:
    """A request of each kind, for things that there are."""
    line = (feeds.HEADER + "A,n,c,s,1,EUR,1,\n").encode()
    imported = api.post(line).json()["id"]
    export = api.http.post("/v1/exports", json={}).json()["id"]
    hook = {"url": "https://192.0.0.9/", "events": ["product.changed"]}
    subscription = api.http.post("/v1/subscriptions", json=hook).json()["id"]
    csv = {"Content-Type": "text/csv"}
    gets = (
        *("/v1/products", "/v1/products?q=thing&category=c", "/v1/products/P", "/v1/categories", "/v1/suppliers"),
        *("/v1/jobs", f"/v1/imports/{imported}", f"/v1/imports/{imported}/errors", f"/v1/exports/{export}"),
        *(f"/v1/exports/{export}/content", "/v1/subscriptions", f"/v1/subscriptions/{subscription}"),
        *(f"/v1/subscriptions/{subscription}/deliveries", "/v1/tokens", f"/v1/imports/{NOBODY}", "/livez", "/readyz"),
    )
    return [
        *({"method": "GET", "url": url} for url in gets),
        {"method": "GET", "url": "/v1/jobs", "headers": {"Authorization": "Bearer guess"}},
        {"method": "PUT", "url": "/v1/products/P", "json": THING},
        {"method": "PATCH", "url": "/v1/products/P", "json": {"price": "2"}},
        {"method": "POST", "url": "/v1/imports", "content": line, "headers": csv},
        {"method": "POST", "url": "/v1/imports", "content": line, "headers": {**csv, "Idempotency-Key": "one"}},
        {"method": "POST", "url": "/v1/exports", "json": {}},
        {"method": "POST", "url": "/v1/subscriptions", "json": hook},
        {"method": "POST", "url": "/v1/tokens", "json": {"name": "n", "scopes": ["read"]}},
        {"method": "DELETE", "url": f"/v1/imports/{imported}"},
        {"method": "DELETE", "url": "/v1/products/none"},
    ]


def assert_clean(answer: httpx.Response, what: str) -> None:
    """Nothing of what the service said, and in a problem nothing from inside at all."""
    assert INSIDE not in answer.content and b"secret FROM" not in answer.content, what
    headers = {key: value for key, value in answer.headers.items() if key not in ("x-request-id", "server")}
    assert_no_leak(json.dumps(headers))
    if answer.is_error and answer.request.method != "HEAD":
        assert_no_leak(json.dumps({**answer.json(), "request_id": ""}))


def is_well(api: Api, process: Process) -> bool:
    """The database answers, and so does Redis: what was read a moment ago comes from there."""
    hits = 'appstack_cache_total{result="hit"}'
    before = process.metrics()[hits]
    answers = [api.http.get(path) for path in ("/v1/jobs", "/v1/products/P", "/v1/products/P")]
    told = process.metrics()
    return (
        all(answer.is_success for answer in answers) and told[hits] > before and not told["appstack_redis_breaker_open"]
    )
