"""Pages of products: however they are found, and wherever a walk is cut off, together they are all that match."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import psycopg
import pytest

from appstack_backend.database import Database
from appstack_backend.repository import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# Categories and suppliers that meet, and some that never do; words that begin late; every seventh is deleted.
FILL = """
    INSERT INTO products (sku, name, category, supplier, price, currency, source_job, source_line, deleted_job)
    SELECT 'S' || lpad(n::text, 3, '0'),
        'thing' || CASE WHEN n % 2 = 1 THEN ' odd' ELSE '' END || CASE WHEN n > 150 THEN ' late' ELSE '' END,
        CASE n % 2 WHEN 0 THEN 'even' ELSE 'category ' || n % 3 END, CASE n % 5 WHEN 0 THEN 'five' ELSE 'other' END,
        1, 'EUR', 1, n, CASE n % 7 WHEN 0 THEN 2 END
    FROM generate_series(1, 200) n;
    INSERT INTO stock SELECT sku, 'main', 3, 1, source_line FROM products WHERE source_line % 3 = 0;
    ANALYZE"""
MATCHING = """
    SELECT sku FROM products WHERE deleted_job IS NULL AND (%(category)s = '' OR category = %(category)s)
        AND (%(supplier)s = '' OR supplier = %(supplier)s) AND (%(q)s = '' OR name ~ %(q)s) ORDER BY sku"""
VALUES = {"category": ("", "even", "category 1", "none"), "supplier": ("", "five"), "q": ("", "odd", "late", "none")}


def searches() -> Iterator[tuple[dict[str, str], str | None]]:
    """Every mixture of filters by every way that leads to its products; None: all that match are sorted."""
    for values in product(*VALUES.values()):
        given = {name: value for name, value in zip(VALUES, values, strict=True) if value}
        yield from ((given, way) for way in (None, "products_pkey"))
        yield from ((given, f"products_by_{column}") for column in pages.COLUMNS if column in given)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(FILL)
    database = Database(dsn, "test", size=3, patience_seconds=60)
    await database.open()
    yield database
    await database.close()


async def all_pages(database: Database, filters: dict[str, str], limit: int) -> tuple[list[str], int]:
    """The SKUs of all pages, and how many pages they were."""
    found: list[str] = []
    after: str | None = ""
    count = 0
    while after is not None:
        behind = {"after": after} if after else {}
        rows, after = await pages.page_of_products(database, filters | behind, limit)
        assert len(rows) <= limit
        assert all((row["stock"] == {"main": 3}) == (int(row["sku"][1:]) % 3 == 0) for row in rows)
        found += [row["sku"] for row in rows]
        count += 1
    return found, count


@pytest.mark.parametrize("most", [3, 40, 200, 50_000])
async def test_all_pages_are_all_that_match(
    database: Database, dsn: str, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(pages, "MOST_WALKED", most)
    with psycopg.connect(dsn) as conn:
        for filters, way in searches():

            async def chosen(*_: object, way: str | None = way) -> str | None:
                return way

            monkeypatch.setattr(pages, "index_to_walk", chosen)
            wanted = [row[0] for row in conn.execute(MATCHING, {"category": "", "supplier": "", "q": "", **filters})]
            for limit in (3, 500):
                found, count = await all_pages(database, filters, limit)
                assert found == wanted, (filters, way, limit)
                walked = 200 if way else 0
                assert count <= walked // most + len(wanted) // limit + 1, (filters, way, limit)


async def test_the_planner_says_where_to_walk(database: Database, dsn: str) -> None:
    """A column of its own is enough for one filter; what is rare is looked up; the rarer of two columns is walked."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("""
            INSERT INTO products (sku, name, category, supplier, price, currency, source_job, source_line)
            SELECT 'T' || n, 'plain' || CASE WHEN n = 7 THEN ' gem' ELSE '' END, 'even',
                CASE WHEN n % 500 = 0 THEN 'rare' ELSE 'other' END, 1, 'EUR', 1, n
            FROM generate_series(1, 20000) n""")
        conn.execute("ANALYZE")
    ways = {
        "products_by_category": ({"category": "even"}, {"category": "even", "q": "plain"}),
        "products_by_supplier": ({"supplier": "five"}, {"supplier": "rare", "category": "even"}),
        "products_pkey": ({"q": "plain"}, {"q": "plain", "after": "T5"}),
        None: ({}, {"after": "T5"}, {"q": "gem"}, {"q": "gem", "category": "even"}),
    }
    async with database.transaction() as asked:
        for way, searched in ways.items():
            for filters in searched:
                assert await pages.index_to_walk(asked, filters, 50) == way, filters
