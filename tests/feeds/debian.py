"""A real supplier feed: Debian's own package index (`apt-cache dumpavail`) as product rows."""

from __future__ import annotations

import csv
import io
import subprocess
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = "sku,name,category,supplier,price,currency,quantity,warehouse"
LEAST_RECORDS = 60_000
LONGEST_NAME = 500  # characters; what the backend takes for a name


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a feed, in the order of its columns."""

    sku: str
    name: str
    category: str
    supplier: str
    price: str  # decimal string with two places
    currency: str
    quantity: int
    warehouse: str


def package_index() -> list[Row]:
    """All records of this machine's package index, in its order. Raises if it is missing or too small to be real."""
    with locked(paths.cache() / "packages.lock"):  # tests beside this one may install packages
        rows = read_index()
        if len(rows) < LEAST_RECORDS:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            rows = read_index()
    if len(rows) < LEAST_RECORDS:
        raise RuntimeError(
            f"The package index has {len(rows)} records, {LEAST_RECORDS} are needed. Run: apt-get update"
        )
    return rows


def read_index() -> list[Row]:
    dump = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout
    return [row_of(record) for record in records(dump.decode("utf-8").splitlines())]


def records(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Stanzas of a Debian control file; a line that starts with a space continues the field above it."""
    record: dict[str, str] = {}
    field = ""
    for line in lines:
        if not line:
            if record:
                yield record
            record = {}
        elif line[0] in " \t":
            record[field] += " " + line.strip()
        else:
            field, _, value = line.partition(":")
            record[field] = value.strip()
    if record:
        yield record


def row_of(record: dict[str, str]) -> Row:
    """A package as a product: the name is its description and dependencies (long), the price comes from its size."""
    words = (record.get("Description", ""), record.get("Tag", ""), record.get("Depends", ""))
    kilobytes = int(record.get("Installed-Size", "0"))
    return Row(
        sku=f"{record['Package']}:{record['Architecture']}",
        name=" | ".join(filter(None, words))[:LONGEST_NAME].strip() or record["Package"],
        category=record.get("Section", "misc"),
        supplier=record["Maintainer"],
        price=f"{kilobytes // 100}.{kilobytes % 100:02}",
        currency="EUR",
        quantity=int(record.get("Size", "0")) // 1024,
        warehouse="main",
    )


def as_csv(rows: Iterable[Row]) -> bytes:
    """The rows as a CSV file with its header, quoted as RFC 4180 says."""
    text = io.StringIO(newline="")
    text.write(HEADER + "\r\n")
    csv.writer(text).writerows(astuple(row) for row in rows)
    return text.getvalue().encode()


def last_of_each(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """What must stand in the catalogue afterwards: of several lines for one key the last wins."""
    return {(row.sku, row.warehouse): row for row in rows}
