"""Requests that somebody hostile or broken might send, and what no answer may tell."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

NOBODY = "00000000-0000-0000-0000-000000000000"
THING = {"name": "Thing", "price": "1", "currency": "EUR"}
# What must never be in an answer: SQL, tracebacks, file paths, modules, addresses, credentials.
LEAKS = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|VIOLATES|relation|constraint|DETAIL:|CONTEXT:)\b|Traceback|"
    r"File \"|\.py\b|/opt/|/usr/|/tmp/|/root/|psycopg|asyncio|starlette|granian|msgspec|aio_?pika|redis\.|Exception|"
    r"127\.0\.0\.1|localhost|:5432|:5672|:6379|secret|password=",
    re.IGNORECASE,
)
PATHS = (
    *("/v1/products", "/v1/products/{}", "/v1/imports/{}", "/v1/imports/{}/errors", "/v1/exports/{}", "/v1/jobs"),
    *("/v1/exports", "/v1/imports", "/v1/subscriptions", "/v1/subscriptions/{}/deliveries", "/v1/tokens", "/{}"),
    "/v1/categories",
)
ODD = (
    *("%00", "%ff%fe", "'; DROP TABLE products; --", "..%2f..%2fetc%2fpasswd", "%F0%9F%8E%81", "a" * 2_000, "-1"),
    *("9" * 40, "NaN", "null", "[]", "{}", "%0d%0aX: y", "${jndi}", "%%", "\u202e", NOBODY, "eyJ9", "WzFd", "W251bGxd"),
)


def odd_request(draw: random.Random) -> dict[str, Any]:
    """A request that somebody hostile or broken might send."""
    query = {draw.choice(("limit", "cursor", "q", "category", "x")): draw.choice(ODD) for _ in range(draw.randrange(3))}
    bodies: tuple[Any, ...] = (
        *(None, b"", b"\xff\x00", b"{", b"[" * 30_000, b'{"name": "\\u0000"}', b'{"format": {}}', b"1e999"),
        json.dumps({"url": draw.choice(ODD), "events": ["product.changed"], "name": 1, "scopes": [[]]}).encode(),
        json.dumps({**THING, "stock": {draw.choice(ODD): draw.choice((-1, 1e99, None, 1 << 70))}}).encode(),
        json.dumps({"format": "csv", "filter": {"q": draw.choice(ODD), draw.choice(ODD): [1]}}).encode(),
    )
    headers = {
        draw.choice(("If-Match", "If-None-Match", "Idempotency-Key", "X-Request-Id", "Content-Encoding", "Range")): (
            draw.choice(('"', "*", "a,b", "W/x", "gzip", "x" * 3_000))
        ),
        "Content-Type": draw.choice(("application/json", "text/csv", "application/x-ndjson", "x", "text/csv; a=b")),
    }
    return {
        "method": draw.choice(("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")),
        "url": draw.choice(PATHS).replace("{}", draw.choice(ODD)),
        "params": query,
        "content": draw.choice(bodies),
        "headers": headers,
    }


def assert_no_leak(text: str) -> None:
    found = LEAKS.search(text)
    assert found is None, f"{found.group()!r} in {text}" if found else ""
