"""What is fuzzed: any bytes; it fails if a parser breaks, or reads bytes otherwise that come in other pieces."""

from __future__ import annotations

import base64
import gzip
import zlib
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from appstack_backend import tracing
from appstack_backend.errors import ApiError, RowError
from appstack_backend.feeds.csv_feed import CsvFeed
from appstack_backend.feeds.inflate import PIECE_BYTES, Inflater
from appstack_backend.feeds.ndjson_feed import NdjsonFeed
from appstack_backend.http.attempts import address_of
from appstack_backend.http.context import Call, next_cursor
from appstack_backend.http.products import require, tags
from appstack_backend.webhooks.guard import AddressRefused, check_url, origin
from appstack_backend.worker.tasks import Hopeless, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADER = b"sku,name,category,supplier,price,currency,quantity,warehouse\n"
LINE_BYTES = 200


def told(feed: CsvFeed | NdjsonFeed, data: bytes, piece: int) -> list[object]:
    """Rows and codes, and the error that ended the reading."""
    rows: list[object] = []
    try:
        for start in range(0, len(data), piece):
            rows += [shown(row) for row in feed.feed(data[start : start + piece])]
        rows += [shown(row) for row in feed.close()]
    except ApiError as error:
        rows.append(error.code)
    return rows


def shown(row: tuple[int, str | RowError]) -> tuple[int, str]:
    line, what = row
    if isinstance(what, str):
        assert what.endswith("\n") and what.count("\n") == 1 and what.count("\t") == 8, what
        return line, what
    return line, what.code


def fuzz_csv(data: bytes) -> None:
    piece = 1 + (data[0] if data else 0)
    for body in (data, HEADER + data):
        whole = told(CsvFeed(LINE_BYTES), body, 1 << 20)
        assert told(CsvFeed(LINE_BYTES), body, piece) == whole
        lines = [row[0] for row in whole if isinstance(row, tuple)]
        assert lines == sorted(set(lines)), "each line is told of once, in order"


def fuzz_ndjson(data: bytes) -> None:
    whole = told(NdjsonFeed(LINE_BYTES), data, 1 << 20)
    assert told(NdjsonFeed(LINE_BYTES), data, 1 + (data[0] if data else 0)) == whole


def inflated(data: bytes, piece: int) -> tuple[bytes, bool] | None:
    inflater, out = Inflater(), b""
    try:
        for start in range(0, len(data), piece):
            for part in inflater.feed(data[start : start + piece]):
                assert len(part) <= PIECE_BYTES
                out += part
    except ApiError:
        return None
    return out, inflater.is_complete


def fuzz_gzip(data: bytes) -> None:
    assert inflated(gzip.compress(data, 1), 7) == (data, True)
    for body in (data, gzip.compress(data, 1)[: len(data) // 2] + data):
        result = inflated(body, 1 << 20)
        assert inflated(body, 3) == result
        if result and result[1] and result[0]:
            assert result[0].startswith(zlib.decompressobj(31).decompress(body))


def call(query: bytes = b"", **headers: bytes) -> Call:
    raw = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": raw, "query_string": query}
    return Call(Request({**scope, "appstack.headers": dict(raw)}), None, None, "id")  # type: ignore[arg-type]


def fuzz_query(data: bytes) -> None:
    for query in (data, b"cursor=" + data, b"cursor=" + base64.urlsafe_b64encode(data), b"limit=" + data, b"q=" + data):
        request = call(query)
        for ask in ("limit", "text_cursor", "number_cursor", "age_cursor", "uuid_cursor"):
            with suppress(ApiError):
                getattr(request, ask)()
        with suppress(ApiError):
            assert all(0 < len(value) <= 1_000 for value in request.filters("q", "category", "supplier").values())


def fuzz_cursor(data: bytes) -> None:
    """A cursor that we give out is one that we take."""
    text = data.decode("utf-8", "replace").replace("\0", "")
    cursor = next_cursor([1], 1, text)
    assert cursor is not None
    assert call(f"cursor={cursor}".encode()).text_cursor() == text


def fuzz_tags(data: bytes) -> None:
    request = call(if_match=data, if_none_match=data)
    assert all(tag == tag.strip() for tag in tags(request, "if-match"))
    for current in (None, {"sku": "A"}):
        with suppress(ApiError):
            require(request, current)


def fuzz_texts(data: bytes) -> None:
    text = data.decode("latin-1")
    known = tracing.parsed(text)
    assert known is None or "-".join(known) in text
    assert address_of("peer", text, 1)
    with suppress(AddressRefused):
        check_url(text)
        assert origin(text).count(":") >= 2


def fuzz_message(data: bytes) -> None:
    message: Any = SimpleNamespace(body=data, message_id=None, headers={}, redelivered=False)
    with suppress(Hopeless):
        task = read(message)
        for ask in (task.chunk, lambda: task.uuid("delivery_id")):
            with suppress(Hopeless):
                ask()


TARGETS: dict[str, Callable[[bytes], None]] = {
    name.removeprefix("fuzz_"): function for name, function in list(globals().items()) if name.startswith("fuzz_")
}


def fuzz_all(data: bytes) -> None:
    """One after the other: the first byte says which."""
    names = list(TARGETS)
    if data:
        TARGETS[names[data[0] % len(names)]](data[1:])


def seeds(name: str) -> Iterator[bytes]:
    """Where to begin."""
    if name == "all":
        for number, target in enumerate(TARGETS):
            yield from (bytes([number]) + seed for seed in seeds(target))
    row = b'A,"a ""quoted"", name",c,s,1.50,EUR,3,main\nB,n,c,s,1,EUR,,\n'
    yield from {
        "csv": (HEADER + row, b"sku,name,price,currency\r\nA,n,1,EUR\r\n", row),
        "ndjson": (b'{"sku":"A","name":"n","price":"1.5","currency":"EUR","quantity":3}\n',),
        "gzip": (gzip.compress(row), gzip.compress(row)[:-4], gzip.compress(row) * 2),
        "query": (b"limit=50&q=thing", b"WyJTS1UwNTAwMDAwIl0", b'["2026-01-01T00:00:00+00:00","x"]'),
        "tags": (b'W/"9ad36f053e5e9d1a381c6e88", "x" , *', b'W/ "x"'),
        "texts": (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"https://[::1]:8080/x", b"1.2.3.4, ::1"),
        "message": (
            b'{"kind":"import.chunk","import_id":"6f1c2f0e-0000-4000-8000-000000000000","chunk":1}',
            b'{"kind":{"kind":"import.chunk"}}',  # found by the fuzzer: a kind that is no text
        ),
    }.get(name, ())
