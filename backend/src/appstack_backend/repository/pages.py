"""Pages of products in the order of their SKUs, by whatever filters, without long walks in vain.

Where the planner expects few matches it looks them all up and sorts them; that costs as much as its guess is wrong.
Else a page is a walk along an index until it is full, and that walk has an end of its own: no statistics tell whether
two common filters ever meet, or where a common word begins. A page that ends there is short, or empty, and says where
the next one goes on.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from appstack_backend.database import Connection, Rows, rows_of
from appstack_backend.reads import Reader
from appstack_backend.repository import catalogue

MOST_WALKED = 50_000  # products for one page: a tenth of a second where they lie in the order of their SKUs
FILTERS = {
    "category": "p.category = %(category)s",
    "supplier": "p.supplier = %(supplier)s",
    "q": "to_tsvector('simple', p.name) @@ plainto_tsquery('simple', %(q)s)",
    "after": "p.sku > %(after)s",
}
COLUMNS = ("category", "supplier")
EXPLAIN = b"EXPLAIN (FORMAT JSON) "
# By index: what lies in it behind a SKU, and in which order. Both name the filter's column, as a range: an equality
# would let the planner walk another index in the same order. (Of > for two columns it would expect no row at all.)
PLACES = {"products_pkey": ("p.sku > %(after)s", "p.sku")} | {
    f"products_by_{column}": (
        f"(p.{column}, p.sku) >= (%({column})s, %(after)s) AND p.{column} <= %({column})s AND p.sku <> %(after)s",
        f"p.{column}, p.sku",
    )
    for column in COLUMNS
}
# Without an order of its own the page takes the walk's, and the planner knows that it may end early. The last row, if
# the page is short and the walk was cut off, is no product but the place of the cut.
WALK = """
    WITH page AS MATERIALIZED (
        SELECT * FROM (SELECT * FROM products p WHERE {place} ORDER BY {order} LIMIT {most}) p
        WHERE {conditions} LIMIT %(limit)s
    )
    ({page})
    UNION ALL (
        SELECT sku, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM products p
        WHERE {place} AND (SELECT count(*) FROM page) < %(limit)s
        ORDER BY {order} LIMIT 1 OFFSET {most} - 1
    )"""


async def page_of_products(reader: Reader, filters: dict[str, str], limit: int) -> tuple[Rows, str | None]:
    """Products with their stock, and the SKU behind which the next page begins; None: this is the last one."""

    async def work(conn: Connection) -> tuple[Rows, str | None]:
        index = await index_to_walk(conn, filters, limit)
        parameters = {"after": "", **filters, "limit": limit}
        if index is not None:
            return split(await rows_of(conn, walk_query(filters, index).encode(), parameters), limit)
        # A search is planned for its values each time. Prepared, it may be planned for any after some uses: PostgreSQL
        # then expects either of two filters to match little, and reads both indexes though one of them is common.
        prepare = False if is_search(filters) else None
        rows = await rows_of(conn, page_query(filters).encode(), parameters, prepare=prepare)
        return rows, rows[-1]["sku"] if len(rows) == limit else None

    return await reader.read(work)


def split(walked: Rows, limit: int) -> tuple[Rows, str | None]:
    """What a walk found, in the order of SKUs (nothing promises one of a union), and where the next one begins."""
    rows = sorted((row for row in walked if row["name"] is not None), key=itemgetter("sku"))
    if len(rows) == limit:
        return rows, rows[-1]["sku"]
    return rows, next((row["sku"] for row in walked if row["name"] is None), None)


def page_query(filters: dict[str, str]) -> str:
    """Stock is looked up behind the limit: where a search has to sort all it found, only for the rows of the page."""
    products = f"{' AND '.join([catalogue.PRODUCTS, *conditions(filters)])} ORDER BY p.sku LIMIT %(limit)s"
    return catalogue.WITH_STOCK.format(products=products)


def walk_query(filters: dict[str, str], index: str) -> str:
    """The same page as far as it is found among the next `MOST_WALKED` products of an index."""
    place, order = PLACES[index]
    # What the place says is not said again, and of the rest the planner, whose statistics end at the walk, is to expect
    # that a half matches (so it does of coalesce): else it might sort the whole place, expecting to need all of it.
    others = {
        name: value for name, value in filters.items() if name not in ("after", index.removeprefix("products_by_"))
    }
    return WALK.format(
        place=place,
        order=order,
        most=MOST_WALKED,
        conditions=" AND ".join([catalogue.IS_ALIVE, *(f"coalesce({one}, false)" for one in conditions(others))]),
        page=catalogue.WITH_STOCK.format(products="SELECT * FROM page"),
    )


def is_search(filters: dict[str, str]) -> bool:
    """Whether only the planner can tell which way is the cheaper one."""
    return bool(filters.get("q")) or all(filters.get(column) for column in COLUMNS)


def conditions(filters: dict[str, str]) -> list[str]:
    return [condition for name, condition in FILTERS.items() if filters.get(name)]


async def index_to_walk(conn: Connection, filters: dict[str, str], limit: int) -> str | None:
    """The index whose walk finds the page; None: all matches are looked up, or nothing is sought."""
    own = [f"products_by_{column}" for column in COLUMNS if filters.get(column)]
    if not is_search(filters):
        return own[0] if own else None
    (answer,) = await rows_of(conn, EXPLAIN + page_query(filters).encode(), {**filters, "limit": limit})
    index = walked(answer["QUERY PLAN"][0]["Plan"])
    if index not in PLACES:
        return None
    return own[0] if own and index not in own else index


def walked(node: Mapping[str, Any]) -> str | None:
    """The index along which a plan, or a part of one, walks through the products; None: it does not."""
    if node["Node Type"] == "Index Scan" and node["Relation Name"] == "products":
        return str(node["Index Name"])
    return next((found for each in node.get("Plans", ()) if (found := walked(each))), None)
