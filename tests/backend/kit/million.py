"""A million products, and thousands of everything else, with values that are common, rare and unique."""

from __future__ import annotations

import psycopg

PRODUCTS = 1_000_000
ID = "00000000-0000-0000-0000-0000000000{:02x}"
# category: half of all rows, a thousandth, one. Words of names likewise; "odd" is never of the common category, "late"
# begins in the middle.
FILL = f"""
    INSERT INTO products (sku, name, category, supplier, price, currency, source_job, source_line)
    SELECT 'SKU' || lpad(n::text, 7, '0'),
        'thing number' || n || CASE WHEN n % 2 = 1 THEN ' odd' ELSE '' END
            || CASE WHEN n % 1000 = 0 THEN ' seldom' ELSE '' END
            || CASE WHEN n = 777777 THEN ' unique' ELSE '' END
            || CASE WHEN n > {PRODUCTS // 2} THEN ' late' ELSE '' END,
        CASE WHEN n = 777777 THEN 'unique' WHEN n % 2 = 0 THEN 'common' ELSE 'category ' || n % 1000 END,
        CASE WHEN n = 777777 THEN 'unique' WHEN n % 3 = 0 THEN 'common' ELSE 'supplier ' || n % 1000 END,
        n % 1000 + 0.5, 'EUR', 1, n
    FROM generate_series(1, {PRODUCTS}) n;
    INSERT INTO stock SELECT sku, 'main', 3, 1, source_line FROM products;
    UPDATE products SET deleted_job = 2 WHERE source_line % 50000 = 0;
    INSERT INTO imports (id, state, format, owner, idempotency_key, request_id, receiver_until, finished_at, created_at)
    SELECT CASE WHEN n = 1 THEN '{ID.format(1)}'::uuid ELSE gen_random_uuid() END, 'succeeded', 'csv', 'admin', n::text,
        'r', now(), now() - n * interval '1 minute', now() - n * interval '1 minute'
    FROM generate_series(1, 30000) n;
    INSERT INTO import_chunks (import_id, number, first_line, rows, rejected, is_partial, state, payload_sha256)
    SELECT id, 0, 2, 1, 0, false, 'done', '' FROM imports;
    INSERT INTO import_errors SELECT '{ID.format(1)}', n, 'IMPORT_ROW_INVALID', 'why' FROM generate_series(1, 30000) n;
    INSERT INTO exports (id, state, format, filter, owner, request_id, created_at)
    SELECT CASE WHEN n = 1 THEN '{ID.format(2)}'::uuid ELSE gen_random_uuid() END, 'succeeded', 'csv', '{{}}', 'admin',
        'r', now() - n * interval '1 minute' FROM generate_series(1, 30000) n;
    INSERT INTO export_pieces SELECT id, 0, 'x' FROM exports;
    UPDATE exports SET bytes = 1;
    INSERT INTO tokens (id, name, hash, scopes) SELECT gen_random_uuid(), 't', n::text::bytea, '{{read}}'
    FROM generate_series(1, 30000) n;
    INSERT INTO subscriptions (id, owner, url, events, secret)
    SELECT CASE WHEN n = 1 THEN '{ID.format(3)}'::uuid ELSE gen_random_uuid() END, 'a' || n % 1000,
        'https://example.com/' || n,
        CASE WHEN n % 1000 = 0 THEN '{{export.finished}}' ELSE '{{product.changed}}' END::text[], 's'
    FROM generate_series(1, 30000) n;
    INSERT INTO deliveries (id, subscription_id, event_id, event, payload, state, request_id, finished_at)
    SELECT gen_random_uuid(), '{ID.format(3)}', n::text, 'product.changed', '{{}}', 'delivered', 'r', now()
    FROM generate_series(1, 30000) n;
    INSERT INTO processed_messages SELECT n::text FROM generate_series(1, 30000) n;
    INSERT INTO catalogue_counts SELECT 'category', category, count(*) FROM products GROUP BY category;
    ANALYZE;"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'products' AND indexname NOT LIKE '%pkey'"


def fill(dsn: str) -> None:
    """The indexes of products are built at the end, which is quicker."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        indexes = conn.execute(INDEXES).fetchall()
        for index, _ in indexes:
            conn.execute(f"DROP INDEX {index}".encode())
        conn.execute(FILL.encode())
        for _, definition in indexes:
            conn.execute(definition.encode())
        conn.execute("ANALYZE products")
        conn.execute("VACUUM products")
