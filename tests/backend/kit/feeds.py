"""Feeds for the tests, and what the catalogue must hold after them."""

from __future__ import annotations

import csv
import io
import random

HEADER = "sku,name,category,supplier,price,currency,quantity,warehouse\n"
Row = tuple[str, str, str, str, str, str, str, str]
WAREHOUSES = ("main", "north", "süd")


def rows(count: int, seed: int, keys: int | None = None) -> list[Row]:
    """Rows with quotes, commas, line ends, tabs, backslashes and unicode; SKUs repeat if `keys` is smaller."""
    draw = random.Random(seed)
    odd = ['"quoted"', "a,b", "two\nlines", "tab\there", "back\\slash", "Größe", "日本", "emoji 🎁", "plain"]
    return [
        (
            f"SKU/{draw.randrange(keys) if keys else number:06d}",
            f"Thing {number} {draw.choice(odd)} end",
            f"category {draw.randrange(20)}",
            f"Supplier {draw.randrange(50)} & Söhne",
            f"{draw.randrange(10_000)}.{draw.randrange(100):02d}",
            draw.choice(("EUR", "USD")),
            str(draw.randrange(1_000)),
            draw.choice(WAREHOUSES),
        )
        for number in range(count)
    ]


def as_csv(feed: list[Row]) -> bytes:
    """The feed as a file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(feed)
    return (HEADER + text.getvalue()).encode()


def catalogue(feed: list[Row]) -> list[Row]:
    """What an export shows after the feed: of several lines for one key the last wins."""
    products = {row[0]: row for row in feed}
    stock = {(row[0], row[7]): row[6] for row in feed}
    return sorted((*products[sku][:6], quantity, warehouse) for (sku, warehouse), quantity in stock.items())


def exported(text: str) -> list[Row]:
    """The rows of an export."""
    reader = csv.reader(io.StringIO(text, newline=""))
    assert ",".join(next(reader)) + "\n" == HEADER
    return sorted((r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]) for r in reader)
