"""What a walk through the products found, and where the next one begins."""

from __future__ import annotations

import random
from typing import Any

import pytest

from appstack_backend.repository.pages import split

CUT: dict[str, Any] = {"sku": "S9", "name": None}


def found(*skus: str) -> list[dict[str, Any]]:
    return [{"sku": sku, "name": "thing"} for sku in skus]


@pytest.mark.parametrize(
    ("rows", "next_begins_behind"),
    [
        (found("S1", "S2", "S3"), "S3"),
        (found("S1", "S2"), None),
        ([*found("S1", "S2"), CUT], "S9"),
        ([CUT], "S9"),
        ([], None),
        (found("Z", "a", "\u00e9", "\uffff", "\U0001f381")[2:], "\U0001f381"),
    ],
)
def test_a_walk_is_in_order_however_its_parts_come(rows: list[dict[str, Any]], next_begins_behind: str | None) -> None:
    """That of PostgreSQL's collation "C", which is that of the characters' numbers."""
    products = [row for row in rows if row is not CUT]
    for seed in range(5):
        assert split(random.Random(seed).sample(rows, len(rows)), 3) == (products, next_begins_behind)
