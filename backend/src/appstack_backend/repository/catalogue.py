"""SQL of the catalogue: products, their stock, the names of categories and suppliers."""

from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from appstack_backend.database import Connection, Database
from appstack_backend.reads import Reader

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
    WHERE (p.source_job, p.source_line) < (excluded.source_job, excluded.source_line)
      AND (p.deleted_job IS NULL OR p.deleted_job < excluded.source_job)"""
UPSERT_STOCK = """
    INSERT INTO stock AS s (sku, warehouse, quantity, source_job, source_line)
    SELECT DISTINCT ON (sku, warehouse) sku, warehouse, quantity, %(position)s::bigint, line
    FROM feed_rows WHERE quantity IS NOT NULL ORDER BY sku, warehouse, line DESC
    ON CONFLICT (sku, warehouse) DO UPDATE SET
        quantity = excluded.quantity, source_job = excluded.source_job, source_line = excluded.source_line
    WHERE (s.source_job, s.source_line) < (excluded.source_job, excluded.source_line)"""

WITH_STOCK = """
    SELECT p.sku, p.name, p.category, p.supplier, p.price::text AS price, p.currency, p.updated_at,
        coalesce(s.stock, '{{}}') AS stock
    FROM ({products}) p LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(warehouse, quantity) AS stock FROM stock
        WHERE stock.sku = p.sku AND (p.deleted_job IS NULL OR p.deleted_job < stock.source_job)) s ON true
    ORDER BY p.sku"""
PRODUCTS = "SELECT * FROM products p WHERE (p.deleted_job IS NULL OR p.deleted_job < p.source_job)"
IS_ALIVE = PRODUCTS.partition(" WHERE ")[2]
BY_SKU = WITH_STOCK.format(products=f"{PRODUCTS} AND p.sku = %(sku)s")
BY_SKUS = WITH_STOCK.format(products=f"{PRODUCTS} AND p.sku = ANY(%(skus)s)")
# Distinct names by jumps along the index (a "loose index scan"): the cost is that of the names, not of the products.
NAMES = """
    WITH RECURSIVE names AS (
        (SELECT {column} AS name FROM products WHERE {column} > %(after)s
            AND (deleted_job IS NULL OR deleted_job < source_job) ORDER BY {column} LIMIT 1)
        UNION ALL
        SELECT (SELECT {column} FROM products WHERE {column} > names.name
            AND (deleted_job IS NULL OR deleted_job < source_job) ORDER BY {column} LIMIT 1)
        FROM names WHERE names.name IS NOT NULL
    )
    SELECT n.name, c.products
    FROM (SELECT name FROM names WHERE name IS NOT NULL LIMIT %(limit)s) n
    LEFT JOIN catalogue_counts c ON c.kind = %(kind)s AND c.name = n.name
    ORDER BY n.name"""
# Whoever comes second waits for the first; the result is the same.
LOCK_COUNTS = "LOCK TABLE catalogue_counts IN SHARE ROW EXCLUSIVE MODE"
FORGET_COUNTS = "DELETE FROM catalogue_counts"
COUNT = """
    INSERT INTO catalogue_counts (kind, name, products)
    SELECT 'category', category, count(*) FROM products p
    WHERE p.deleted_job IS NULL OR p.deleted_job < p.source_job GROUP BY category
    UNION ALL SELECT 'supplier', supplier, count(*) FROM products p
    WHERE p.deleted_job IS NULL OR p.deleted_job < p.source_job GROUP BY supplier"""
# A change over the API has a position as an import has one: later than every import accepted before it.
# A SKU without a row is locked too: of two who would create it, the second one finds it.
LOCK_SKU = "SELECT pg_advisory_xact_lock(1, hashtext(%(sku)s))"
LOCK_PRODUCT = "SELECT FROM products WHERE sku = %(sku)s FOR UPDATE"
NEXT_POSITION = "SELECT nextval('catalogue_positions')"
PUT_PRODUCT = """
    INSERT INTO products AS p (sku, name, category, supplier, price, currency, source_job, source_line)
    VALUES (%(sku)s, %(name)s, %(category)s, %(supplier)s, %(price)s, %(currency)s, %(position)s, 0)
    ON CONFLICT (sku) DO UPDATE SET
        name = excluded.name, category = excluded.category, supplier = excluded.supplier,
        price = excluded.price, currency = excluded.currency, updated_at = now(),
        source_job = excluded.source_job, source_line = excluded.source_line
    WHERE p.source_job < excluded.source_job"""
PUT_STOCK = """
    INSERT INTO stock AS s (sku, warehouse, quantity, source_job, source_line)
    SELECT %(sku)s, key, value::bigint, %(position)s, 0 FROM jsonb_each_text(%(stock)s) ORDER BY key
    ON CONFLICT (sku, warehouse) DO UPDATE SET
        quantity = excluded.quantity, source_job = excluded.source_job, source_line = 0
    WHERE s.source_job < excluded.source_job"""
DELETE_PRODUCT = "UPDATE products SET deleted_job = %(position)s, updated_at = now() WHERE sku = %(sku)s"


async def apply_rows(conn: Connection, payload: bytes, position: int) -> None:
    """Bring rows in COPY's text format into the catalogue, within the caller's transaction."""
    await conn.execute(CREATE_STAGING)
    async with conn.cursor() as cursor:
        async with cursor.copy(COPY_ROWS) as copy:
            await copy.write(payload)
        await cursor.execute(UPSERT_PRODUCTS, {"position": position})
        await cursor.execute(UPSERT_STOCK, {"position": position})


async def products(reader: Reader, skus: list[str]) -> dict[str, dict[str, Any]]:
    """Those that there are, by their SKUs."""
    return {row["sku"]: row for row in await reader.fetch_all(BY_SKUS, {"skus": skus})}


async def page_of_names(reader: Reader, kind: str, after: str, limit: int) -> list[dict[str, Any]]:
    """Names of categories or suppliers in use; `products` is as fresh as refresh-statistics."""
    query = sql.SQL(NAMES).format(column=sql.Identifier(kind))
    return await reader.fetch_all(query, {"kind": kind, "after": after, "limit": limit})


async def refresh_counts(database: Database) -> None:
    """Count the products of each category and supplier anew."""

    async def work(conn: Connection) -> None:
        for statement in (LOCK_COUNTS, FORGET_COUNTS, COUNT):
            await conn.execute(statement)

    await database.run(work)


async def locked_product(conn: Connection, sku: str) -> dict[str, Any] | None:
    """A product that nobody else can change, or create over the API, until the caller's transaction ends."""
    await conn.execute(LOCK_SKU, {"sku": sku})
    await conn.execute(LOCK_PRODUCT, {"sku": sku})
    return await product_now(conn, sku)


async def product_now(conn: Connection, sku: str) -> dict[str, Any] | None:
    """A product as the caller's transaction sees it."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(BY_SKU, {"sku": sku})
        return await cursor.fetchone()


async def next_position(conn: Connection) -> int:
    """A position later than all that were given out before."""
    row = await (await conn.execute(NEXT_POSITION)).fetchone()
    assert row is not None
    return int(row[0])


async def put_product(conn: Connection, product: dict[str, Any], position: int) -> None:
    """Write a product; of its stock the warehouses that are named."""
    values = {**product, "stock": Jsonb(product["stock"]), "position": position}
    await conn.execute(PUT_PRODUCT, values)
    await conn.execute(PUT_STOCK, values)


async def delete_product(conn: Connection, sku: str, position: int) -> None:
    await conn.execute(DELETE_PRODUCT, {"sku": sku, "position": position})
