"""Feeds: whatever the bytes and however they arrive in pieces, the same rows and the same reasons come out."""

from __future__ import annotations

import csv
import gzip
import io
import time
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appstack_backend.errors import ImportCompressionInvalid, ImportHeaderInvalid, RowError
from appstack_backend.feeds.chunks import Chunk, ChunkBuilder
from appstack_backend.feeds.csv_feed import CsvFeed
from appstack_backend.feeds.inflate import PIECE_BYTES, Inflater
from appstack_backend.feeds.ndjson_feed import NdjsonFeed
from appstack_backend.feeds.rows import copy_line

HEADER = "sku,name,category,supplier,price,currency,quantity,warehouse\n"
LONGEST = 2_000
Told = list[tuple[int, str]]


def read(data: bytes, piece: int = 1 << 20, feed: CsvFeed | NdjsonFeed | None = None, is_cut: bool = False) -> Told:
    """(line, what COPY reads or the code of the reason) of every row, the data fed in pieces of that size."""
    feed = feed or CsvFeed(LONGEST)
    rows = [row for start in range(0, len(data), piece) for row in feed.feed(data[start : start + piece])]
    if not is_cut:
        rows += feed.close()
    return [(line, row.code if isinstance(row, RowError) else row) for line, row in rows]


def codes(body: bytes) -> Told:
    """The same, without what COPY reads."""
    return [(line, "ok" if "\t" in row else row) for line, row in read(HEADER.encode() + body)]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b"A,n,c,s,1.50,EUR,3,main\n", [(2, "ok")], id="a good row"),
        pytest.param(b"A,n,c,s,1.50,EUR,3,main", [(2, "ok")], id="no line end at the end"),
        pytest.param(b"A,n,c,s,1.50,EUR,3,main\r\n", [(2, "ok")], id="a line end of Windows"),
        pytest.param(b" A , n ,,, 1 ,EUR, 0 ,\n", [(2, "ok")], id="spaces, and empty optional values"),
        pytest.param(b"\n\r\nA,n,c,s,1,EUR,3,m\n", [(4, "ok")], id="empty lines are counted, not told"),
        pytest.param(b'A,"n\nn",c,s,1,EUR,3,m\nB,n,c,s,1,EUR,3,m\n', [(2, "ok"), (4, "ok")], id="two lines in a value"),
        pytest.param(b'A,"say ""hi"", you",c,s,1,EUR,3,m\n', [(2, "ok")], id="quotes in quotes"),
        pytest.param(b'A,5" disk,c,s,1,EUR,3,m\n', [(2, "ok")], id="a quote in a value"),
        pytest.param(b"A,n,c,s,1,EUR,,\n", [(2, "ok")], id="no stock told"),
        pytest.param(b"A,n,c,s,1,EUR,,m\n", [(2, "IMPORT_COLUMN_MISSING")], id="no quantity"),
        pytest.param(b"A,n,c,s,1,eur,,\n", [(2, "IMPORT_ROW_INVALID")], id="no stock told, and a bad currency"),
        pytest.param(b"A,n\n", [(2, "IMPORT_COLUMN_MISSING")], id="too few columns"),
        pytest.param(b",n,c,s,1,EUR,3,m\n", [(2, "IMPORT_COLUMN_MISSING")], id="no SKU"),
        pytest.param(b"A,n,c,s,1,EUR,3,m,x\n", [(2, "IMPORT_ROW_MALFORMED")], id="too many columns"),
        pytest.param(b'A,"n"x,c,s,1,EUR,3,m\n', [(2, "IMPORT_ROW_MALFORMED")], id="text behind a quote"),
        pytest.param(
            b'A,"n,c,s,1,EUR,3,m\nB,n,c,s,1,EUR,3,m\n', [(2, "IMPORT_ROW_MALFORMED"), (3, "ok")], id="an open quote"
        ),
        pytest.param(b"A,n,c,s,1e3,EUR,3,m\n", [(2, "IMPORT_NUMBER_INVALID")], id="an exponent"),
        pytest.param(b"A,n,c,s,-1,EUR,3,m\n", [(2, "IMPORT_NUMBER_INVALID")], id="a negative price"),
        pytest.param(b"A,n,c,s,1.23456,EUR,3,m\n", [(2, "IMPORT_NUMBER_INVALID")], id="too many decimals"),
        pytest.param("A,n,c,s,١,EUR,3,m\n".encode(), [(2, "IMPORT_NUMBER_INVALID")], id="digits of another script"),
        pytest.param(b"A,n,c,s,1,EUR,1.5,m\n", [(2, "IMPORT_NUMBER_INVALID")], id="half a piece"),
        pytest.param(b"A,n,c,s,1,eur,3,m\n", [(2, "IMPORT_ROW_INVALID")], id="a small currency"),
        pytest.param(b"A" * 201 + b",n,c,s,1,EUR,3,m\n", [(2, "IMPORT_ROW_INVALID")], id="a long SKU"),
        pytest.param(b"A,n\0,c,s,1,EUR,3,m\n", [(2, "IMPORT_ROW_INVALID")], id="a NUL"),
        pytest.param(b"A,\xc3(,c,s,1,EUR,3,m\n", [(2, "IMPORT_ENCODING_INVALID")], id="no UTF-8"),
        pytest.param(b"A," + b"x" * 2_000 + b",c,s,1,EUR,3,m\n", [(2, "IMPORT_LINE_TOO_LONG")], id="a long line"),
        pytest.param(
            b'A,"n\n' + b"x\n" * 1_000 + b"B,n,c,s,1,EUR,3,m\n",
            [(2, "IMPORT_LINE_TOO_LONG"), *((n, "IMPORT_COLUMN_MISSING") for n in range(3, 1_003)), (1_003, "ok")],
            id="an open quote costs one row, not all",
        ),
    ],
)
def test_a_row_is_read_or_the_reason_is_told(body: bytes, told: Told) -> None:
    assert codes(body) == told


@pytest.mark.parametrize("piece", [1, 7, 64, 5_000])
def test_pieces_make_no_difference(piece: int) -> None:
    lines = [
        'A,"two\nlines, and ""quotes""",c,s,1,EUR,3,m',
        "Ü,日本,c,s,1,EUR,3,m",
        "B,n",
        "C," + "€" * 1_000 + ",c,s,1,EUR,3,m",
        "D,n,c,s,1,EUR,3,m",
        "E," + "x" * 9_000 + ",c,s,1,EUR,3,m",
        "F,n,c,s,1,EUR,3,m\r",
    ]
    data = b"\xef\xbb\xbf" + (HEADER + "\n".join(lines)).encode() + b"\nbad \xff\n"
    whole = read(data)
    assert [row for _, row in whole if "\t" not in row] == [
        "IMPORT_COLUMN_MISSING",
        "IMPORT_LINE_TOO_LONG",
        "IMPORT_LINE_TOO_LONG",
        "IMPORT_ENCODING_INVALID",
    ]
    assert read(data, piece) == whole


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=20), st.integers(1, 200))
@example([("\r", '"')], 1)
def test_what_a_csv_writer_writes_is_read_back(pairs: list[tuple[str, str]], piece: int) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        (f"S{n}", f"n{name}", category, "s", "1", "EUR", "3", "m") for n, (name, category) in enumerate(pairs)
    )
    rows = [row for _, row in read((HEADER + text.getvalue()).encode(), piece)]
    unescape = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    for row, (number, (name, category)) in zip(rows, enumerate(pairs), strict=True):
        values = row.rstrip("\n").split("\t")
        plain = [unescaped(value, unescape) for value in values]
        assert plain[1:4] == [f"S{number}", f"n{name}".strip(), category.strip()]


def unescaped(value: str, unescape: dict[str, str]) -> str:
    out, index = [], 0
    while index < len(value):
        pair = value[index : index + 2]
        out.append(unescape.get(pair, value[index]) if value[index] == "\\" else value[index])
        index += 2 if value[index] == "\\" else 1
    return "".join(out)


@given(st.binary(max_size=3_000), st.integers(1, 500))
def test_no_bytes_break_the_reader(data: bytes, piece: int) -> None:
    whole = read(HEADER.encode() + data)
    assert read(HEADER.encode() + data, piece) == whole
    assert [line for line, _ in whole] == sorted({line for line, _ in whole})


def test_quotes_that_never_close_cost_time_in_proportion() -> None:
    """Such a line ends inside a quote, whether it was read from outside or from inside of one."""
    body = HEADER.encode() + b'x","\n' * 12_000
    begun = time.process_time()
    rows = read(body, piece=1 << 16, feed=CsvFeed(1 << 16))
    assert time.process_time() - begun < 5, "each line looked for its end through all the others"
    assert {code for _, code in rows} <= {"IMPORT_ROW_MALFORMED", "IMPORT_LINE_TOO_LONG", "IMPORT_COLUMN_MISSING"}


def test_a_long_header_costs_time_in_proportion() -> None:
    header = b"sku,name,price,currency,quantity" + b"," * 64_000 + b"\n"
    begun = time.process_time()
    assert read(header, feed=CsvFeed(1 << 16)) == []
    assert time.process_time() - begun < 1, "each name was looked for among all the others"


def test_behind_a_quote_that_never_closes_quoted_values_of_one_line_are_read() -> None:
    rows = [b'A,"n,c,s,1,EUR,3,m\n', *[b"B%d,n,c,s,1,EUR,3,m\n" % n for n in range(150)], b'C,"a, b",c,s,1,EUR,3,m\n']
    told = codes(b"".join(rows))
    assert [line for line, code in told if code != "ok"] == [2]
    assert len(told) == len(rows)


def test_a_cut_drops_the_incomplete_last_record_only() -> None:
    good = "A,n,c,s,1,EUR,3,m\n"
    assert [line for line, _ in read(f"{HEADER}{good}B,n,c,s,1,EUR,3,m".encode(), is_cut=True)] == [2]
    assert [line for line, _ in read(f'{HEADER}{good}B,"n\nn,c'.encode(), is_cut=True)] == [2]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"sku,name\n", "lacks price, currency, quantity"),
        (b"sku,name,price,currency,quantity,sku\n", "names sku twice"),
        (b"", "is empty"),
        (b"\xff\n", "not UTF-8"),
    ],
)
def test_a_header_that_will_not_do_is_told(header: bytes, why: str) -> None:
    with pytest.raises(ImportHeaderInvalid, match=why):
        read(header)


def test_columns_may_come_in_any_order_with_others_between_them() -> None:
    body = b"Price,extra,SKU,quantity,name,currency\n1.50,x,A,3,n,EUR\n"
    assert read(body) == [(2, "2\tA\tn\t\t\t1.50\tEUR\t3\tmain\n")]
    assert read(body.replace(b",3,", b",,")) == [(2, "IMPORT_COLUMN_MISSING")], "no warehouse is the default"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"sku": "A", "name": "n", "price": "1.50", "currency": "EUR", "quantity": 3}', None),
        ('{"sku": "A", "name": "n", "price": 1.5, "currency": "EUR", "quantity": "3", "more": []}', None),
        ('{"sku": "A", "name": "n", "price": 1.5, "currency": "EUR"}', "IMPORT_COLUMN_MISSING"),
        ('{"sku": "A", "name": "n", "price": 1.5, "currency": "EUR", "quantity": null}', "IMPORT_COLUMN_MISSING"),
        ('{"sku": "A", "name": "n", "price": 1.5, "currency": "EUR", "quantity": null, "warehouse": null}', None),
        ('{"sku": "A", "name": "n", "price": true, "currency": "EUR", "quantity": 3}', "IMPORT_ROW_INVALID"),
        ('{"sku": "A", "name": "n", "price": 1e30, "currency": "EUR", "quantity": 3}', "IMPORT_NUMBER_INVALID"),
        ('{"sku": "A"', "IMPORT_ROW_MALFORMED"),
        ("[1]", "IMPORT_ROW_MALFORMED"),
        ('"\\ud800"', "IMPORT_ROW_MALFORMED"),
        ("[" * 1_500, "IMPORT_ROW_MALFORMED"),
    ],
)
def test_a_json_line_is_read_or_the_reason_is_told(line: str, code: str | None) -> None:
    ((number, row),) = read(f"\n{line}\n".encode(), feed=NdjsonFeed(LONGEST))
    assert number == 2
    assert row == code if code else row.startswith("2\tA\tn\t\t\t1.5")


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_unpacked_in_bounded_pieces(members: int) -> None:
    plain = b"x" * 3_000_000
    inflater, unpacked = Inflater(), 0
    for part in [gzip.compress(plain)] * members + [b"\0" * 100]:
        for piece in inflater.feed(part):
            assert len(piece) <= PIECE_BYTES
            unpacked += len(piece)
    assert unpacked == members * len(plain)
    assert inflater.is_complete


def test_gzip_of_many_small_members_is_unpacked_into_few_pieces() -> None:
    """A reader looks anew at a value that goes on with each piece: a small file of such pieces would take hours."""
    member = gzip.compress(b"\n")
    (piece,) = Inflater().feed(member * 3_000)
    assert piece == b"\n" * 3_000
    damaged = Inflater().feed(member * 3_000 + b"garbage")
    assert next(damaged) == b"\n" * 3_000, "what came before the damage is kept"
    with pytest.raises(ImportCompressionInvalid):
        next(damaged)


def test_gzip_tells_an_early_end_from_damage() -> None:
    packed = gzip.compress(b"some text that is not too short" * 100)
    inflater = Inflater()
    list(inflater.feed(packed[:-1]))
    assert not inflater.is_complete
    for damaged in (b"not gzip", packed[:-8] + bytes(8), packed + b"garbage"):
        with pytest.raises(ImportCompressionInvalid):
            list(Inflater().feed(damaged))
    assert zlib.decompress(packed, 31)


def test_chunks_do_not_depend_on_pieces() -> None:
    rows = "".join(f"S{n},{'bad' if n % 9 else 'n'},c,s,{'x' if n % 5 == 0 else 1},EUR,3,m\n" for n in range(1_000))
    data = (HEADER + rows).encode()

    def chunks(piece: int) -> list[Chunk]:
        feed, builder = CsvFeed(LONGEST), ChunkBuilder(most_rows=100, most_bytes=1 << 20)
        found: list[Chunk] = []
        for start in range(0, len(data), piece):
            found += builder.add(feed.feed(data[start : start + piece]))
        found += builder.add(feed.close())
        rest = builder.rest(is_partial=False)
        return [*found, rest] if rest else found

    whole = chunks(1 << 20)
    assert [len(chunk.lines) for chunk in whole] == [100] * 8
    assert sum(len(chunk.errors) for chunk in whole) == 200
    for piece in (1, 333):
        assert [c.digest(c.payload()) for c in chunks(piece)] == [c.digest(c.payload()) for c in whole]


def test_values_are_escaped_for_copy() -> None:
    values = ["A", "a\\b\tc\nd\re", "c", "s", "1", "EUR", "3", ""]
    assert copy_line(7, values) == "7\tA\ta\\\\b\\tc\\nd\\re\tc\ts\t1\tEUR\t3\tmain\n"


def test_a_product_of_which_no_stock_is_told_is_two_nulls_to_copy() -> None:
    assert copy_line(7, ["A", "a\\b", "c", "s", "1", "EUR", " ", ""]) == "7\tA\ta\\\\b\tc\ts\t1\tEUR\t\\N\t\\N\n"
