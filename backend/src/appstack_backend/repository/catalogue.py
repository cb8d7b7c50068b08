"""SQL of the catalogue: products, their stock, the names of categories and suppliers."""

from typing import Any

from psycopg import sql

from appstack_backend.database import Connection, Database

# Once per session, through a transaction pooler too. Emptied at each commit.
CREATE_STAGING = """
    CREATE TEMPORARY TABLE IF NOT EXISTS feed_rows (
        line bigint, sku text COLLATE "C", name text, category text, supplier text,
        price numeric, currency text, quantity bigint, warehouse text COLLATE "C"
    ) ON COMMIT DELETE ROWS"""
COPY_ROWS = "COPY feed_rows FROM STDIN"
# Rows are locked in the order of their keys, so that workers never wait for each other in a circle.
# A row gives way only to a later line of the same job, or to a later job.
UPSERT_PRODUCTS = """
    INSERT INTO products AS p (sku, name, category, supplier, price, currency, source_job, source_line)
    SELECT DISTINCT ON (sku) sku, name, category, supplier, price, currency, %(position)s::bigint, line
    FROM feed_rows ORDER BY sku, line DESC
    ON CONFLICT (sku) DO UPDATE SET
        name = excluded.name, category = excluded.category, supplier = excluded.supplier,
        price = excluded.price, currency = excluded.currency, updated_at = now(),
        source_job = excluded.source_job, source_line = excluded.source_line
    WHERE (p.source_job, p.source_line) < (excluded.source_job, excluded.source_line)"""
UPSERT_STOCK = """
    INSERT INTO stock AS s (sku, warehouse, quantity, source_job, source_line)
    SELECT DISTINCT ON (sku, warehouse) sku, warehouse, quantity, %(position)s::bigint, line
    FROM feed_rows ORDER BY sku, warehouse, line DESC
    ON CONFLICT (sku, warehouse) DO UPDATE SET
        quantity = excluded.quantity, source_job = excluded.source_job, source_line = excluded.source_line
    WHERE (s.source_job, s.source_line) < (excluded.source_job, excluded.source_line)"""

PRODUCT = """
    SELECT p.sku, p.name, p.category, p.supplier, p.price::text AS price, p.currency, p.updated_at,
        coalesce(s.stock, '{}') AS stock
    FROM products p LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(warehouse, quantity) AS stock FROM stock WHERE stock.sku = p.sku) s ON true"""
BY_SKU = PRODUCT + " WHERE p.sku = %(sku)s"
FILTERS = {
    "category": "p.category = %(category)s",
    "supplier": "p.supplier = %(supplier)s",
    "q": "to_tsvector('simple', p.name) @@ plainto_tsquery('simple', %(q)s)",
    "after": "p.sku > %(after)s",
}
# Distinct names by jumps along the index (a "loose index scan"): the cost is that of the names, not of the products.
NAMES = """
    WITH RECURSIVE names AS (
        (SELECT {column} AS name FROM products WHERE {column} > %(after)s ORDER BY {column} LIMIT 1)
        UNION ALL
        SELECT (SELECT {column} FROM products WHERE {column} > names.name ORDER BY {column} LIMIT 1)
        FROM names WHERE names.name IS NOT NULL
    )
    SELECT n.name, c.products
    FROM (SELECT name FROM names WHERE name IS NOT NULL LIMIT %(limit)s) n
    LEFT JOIN catalogue_counts c ON c.kind = %(kind)s AND c.name = n.name
    ORDER BY n.name"""
KINDS = ("category", "supplier")
# Whoever comes second waits for the first; the result is the same.
LOCK_COUNTS = "LOCK TABLE catalogue_counts IN SHARE ROW EXCLUSIVE MODE"
FORGET_COUNTS = "DELETE FROM catalogue_counts"
COUNT = """
    INSERT INTO catalogue_counts (kind, name, products)
    SELECT 'category', category, count(*) FROM products GROUP BY category
    UNION ALL SELECT 'supplier', supplier, count(*) FROM products GROUP BY supplier"""


async def apply_rows(conn: Connection, payload: bytes, position: int) -> None:
    """Bring rows in COPY's text format into the catalogue, within the caller's transaction."""
    await conn.execute(CREATE_STAGING)
    async with conn.cursor() as cursor:
        async with cursor.copy(COPY_ROWS) as copy:
            await copy.write(payload)
        await cursor.execute(UPSERT_PRODUCTS, {"position": position})
        await cursor.execute(UPSERT_STOCK, {"position": position})


async def product(database: Database, sku: str) -> dict[str, Any] | None:
    return await database.fetch_one(BY_SKU, {"sku": sku})


async def page_of_products(database: Database, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
    """One keyset page in SKU order, its stock included: one query for any limit."""
    conditions = [condition for name, condition in FILTERS.items() if filters.get(name)]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"{PRODUCT}{where} ORDER BY p.sku LIMIT %(limit)s"
    return await database.fetch_all(query.encode(), {**filters, "limit": limit})


async def page_of_names(database: Database, kind: str, after: str, limit: int) -> list[dict[str, Any]]:
    """Names of categories or suppliers in use; `products` is as fresh as refresh-statistics."""
    query = sql.SQL(NAMES).format(column=sql.Identifier(kind))
    return await database.fetch_all(query, {"kind": kind, "after": after, "limit": limit})


async def refresh_counts(database: Database) -> None:
    """Count the products of each category and supplier anew."""

    async def work(conn: Connection) -> None:
        for statement in (LOCK_COUNTS, FORGET_COUNTS, COUNT):
            await conn.execute(statement)

    await database.run(work)
