"""The feed of the end-to-end test: package records become product rows."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from tests.feeds.debian import HEADER, LONGEST_NAME, as_csv, last_of_each, records, row_of

DUMP = """Package: kettle
Architecture: amd64
Installed-Size: 1234
Maintainer: Zoë <zoe@example.org>
Description: boils "water", fast
Tag: made-of::steel,
 role::kettle
Section: kitchen
Size: 4096

Package: lamp
Architecture: all
Maintainer: Ann
"""


def test_records_are_split_at_empty_lines_and_continuations_are_joined() -> None:
    first, second = records(DUMP.splitlines())
    assert first["Tag"] == "made-of::steel, role::kettle"
    assert second == {"Package": "lamp", "Architecture": "all", "Maintainer": "Ann"}


def test_a_record_becomes_a_product_row() -> None:
    row = row_of(next(records(DUMP.splitlines())))
    assert (row.sku, row.price, row.quantity) == ("kettle:amd64", "12.34", 4)
    assert row.name == 'boils "water", fast | made-of::steel, role::kettle'


def test_names_stay_within_what_the_backend_takes() -> None:
    row = row_of({"Package": "p", "Architecture": "a", "Maintainer": "m", "Depends": "x" * 10_000})
    assert len(row.name) == LONGEST_NAME


def test_the_csv_reads_back_as_it_was_written() -> None:
    rows = [row_of(record) for record in records(DUMP.splitlines())]
    header, first, second = csv.reader(io.StringIO(as_csv(rows).decode(), newline=""))
    assert header == HEADER.split(",")
    assert first[1] == rows[0].name
    assert second[0] == "lamp:all"


def test_the_last_line_of_a_key_wins() -> None:
    row = row_of(next(records(DUMP.splitlines())))
    newer = replace(row, quantity=99)
    assert last_of_each([row, newer]) == {("kettle:amd64", "main"): newer}
