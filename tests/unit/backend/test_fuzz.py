"""Whatever comes in from outside: an answer or one of our own errors, in bounded memory."""

from __future__ import annotations

import base64
import gzip
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request

from appstack_backend import tracing
from appstack_backend.errors import ImportCompressionInvalid, RequestInvalid, RowError
from appstack_backend.feeds.inflate import PIECE_BYTES, Inflater
from appstack_backend.feeds.lines import LineSplitter
from appstack_backend.feeds.ndjson_feed import NdjsonFeed
from appstack_backend.http.context import Call, encode
from appstack_backend.webhooks.guard import AddressRefused, check_url, is_public, origin

if TYPE_CHECKING:
    import ipaddress

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("sku", "name", "price", "currency", "quantity", "warehouse")


def ndjson(data: bytes, piece: int) -> list[tuple[int, str]]:
    feed = NdjsonFeed(1_000)
    rows = [row for start in range(0, len(data), piece) for row in feed.feed(data[start : start + piece])]
    return [(line, row.code if isinstance(row, RowError) else row) for line, row in [*rows, *feed.close()]]


@given(st.binary(max_size=2_000), st.integers(1, 300))
def test_no_bytes_break_the_ndjson_reader(data: bytes, piece: int) -> None:
    assert ndjson(data, piece) == ndjson(data, 5_000)


@pytest.mark.parametrize("piece", [1, 11, 5_000])
def test_a_line_that_is_too_long_and_no_text_is_too_long(piece: int) -> None:
    """Whatever pieces it comes in: found by the fuzzer."""
    assert ndjson(b"\n" + b"\xff" * 1_001 + b"\n", piece) == [(2, "IMPORT_LINE_TOO_LONG")]


@given(st.lists(JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6), max_size=5), st.integers(1, 50))
def test_any_json_is_a_row_or_a_reason(values: list[Any], piece: int) -> None:
    data = b"\n".join(encode(value) for value in values)
    told = ndjson(data, piece)
    assert len(told) == len(values)
    assert all(row.startswith("IMPORT_") or row.count("\t") >= 8 for _, row in told)


@given(st.binary(max_size=500), st.integers(0, 60), st.integers(1, 40))
@example(b"", 0, 1)
def test_no_bytes_break_the_inflater(noise: bytes, keep: int, piece: int) -> None:
    data = gzip.compress(b"some rows\n" * 10)[:keep] + noise
    inflater = Inflater()
    with suppress(ImportCompressionInvalid):
        for start in range(0, len(data), piece):
            assert all(len(part) <= PIECE_BYTES for part in inflater.feed(data[start : start + piece]))


def test_an_endless_line_is_not_kept() -> None:
    splitter = LineSplitter(1_000)
    for _ in range(1_000):
        assert splitter.feed(b"x" * 999) == []
        assert len(splitter._tail) <= 2_000
    assert splitter.feed(b"\nshort\n") == ["", "short"]


def call(query: bytes) -> Call:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query}
    return Call(Request(scope), None, None, "id")  # type: ignore[arg-type]


@given(
    st.binary(max_size=80) | JSON.map(encode) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
)
@example(b"[true]")
@example(b"[" * 5_000)
def test_any_cursor_is_one_of_ours_or_refused(value: bytes) -> None:
    for cursor in (base64.urlsafe_b64encode(value).rstrip(b"="), value.hex().encode()):
        for read in ("text_cursor", "number_cursor", "age_cursor", "uuid_cursor"):
            with suppress(RequestInvalid):
                found = getattr(call(b"cursor=" + cursor), read)()
                assert read != "number_cursor" or type(found) is int, "the database compares it with numbers"


@pytest.mark.parametrize(
    "moment", ["2026-01-01T00:00:00+23:59", "2026-01-01T00:00:00-16:00", "0001-01-01T00:00:00+01:00"]
)
def test_a_cursors_time_is_one_that_postgresql_knows(moment: str) -> None:
    """It knows no offset of 16 hours or more: asked for such a time, it fails."""
    cursor = base64.urlsafe_b64encode(encode([moment, str(UUID(int=7))])).rstrip(b"=")
    with suppress(RequestInvalid):
        found = call(b"cursor=" + cursor).age_cursor()
        assert found is not None and found[0] == datetime.fromisoformat(moment)
        assert found[0].utcoffset() == timedelta(0)


@given(st.text(max_size=40) | st.from_regex(r"0{0,8}[0-9]{1,12}", fullmatch=True))
@example("00000150000")
def test_any_limit_is_a_number_in_range_or_refused(text: str) -> None:
    request = call(b"limit=" + text.encode("utf-8", "replace"))
    with suppress(RequestInvalid):
        assert 1 <= request.limit() <= 500


@given(st.text(max_size=60) | st.from_regex(r"https?://[^ ]{0,40}"))
@example("http://[::1")
@example("http://a:99999/")
def test_any_url_is_refused_or_has_an_origin(url: str) -> None:
    with suppress(AddressRefused):
        check_url(url)
        assert origin(url).count(":") >= 2


@given(st.ip_addresses())
def test_what_is_private_is_never_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not (is_public(str(address)) and (address.is_private or address.is_loopback or address.is_link_local))


@given(st.text(max_size=70) | st.from_regex(tracing.TRACEPARENT, fullmatch=True))
def test_any_traceparent_is_read_or_ignored(text: str) -> None:
    known = tracing.parsed(text)
    assert known is None or f"{known[0]}-{known[1]}-{known[2]}" in text


@pytest.mark.parametrize("value", [None, 7, [], "00-0-0-0", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01"])
def test_what_is_no_traceparent_is_none(value: object) -> None:
    assert tracing.parsed(value) is None
