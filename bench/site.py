"""Real servers for the benchmarks, from the same images as the tests; PostgreSQL with fsync."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from appstack_backend import schema
from tests.backend.kit import servers
from tests.backend.kit.processes import ADMIN_TOKEN, Backend

if TYPE_CHECKING:
    from collections.abc import Iterator

FILL = """
    INSERT INTO products (sku, name, category, supplier, price, currency, source_job, source_line)
    SELECT 'SKU' || lpad(n::text, 6, '0'), 'Thing number ' || n, 'category ' || n %% 20, 'supplier ' || n %% 50,
        n %% 1000 + 0.5, 'EUR', 1, n
    FROM generate_series(1, %s) n"""
FILL_STOCK = "INSERT INTO stock SELECT sku, 'main', 3, 1, source_line FROM products"


@dataclass
class Site:
    """The servers of one run."""

    folder: Path
    postgres: str
    redis: dict[str, str]
    rabbitmq: str

    def database(self, products: int = 0) -> str:
        """A new database with the schema, and some products."""
        name = f"bench_{uuid4().hex}"
        with psycopg.connect(self.postgres, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        dsn = re.sub(r"/postgres$", f"/{name}", self.postgres)
        schema.migrate(dsn, schema.load_migrations())
        if products:
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute(FILL, (products,))
                conn.execute(FILL_STOCK)
                conn.execute("VACUUM ANALYZE")
        return dsn

    @contextmanager
    def backend(self, dsn: str, **environment: str) -> Iterator[Backend]:
        """A backend of which nothing runs yet."""
        folder = self.folder / uuid4().hex
        folder.mkdir()
        settings = {
            "DATABASE_URL": dsn,
            "RABBITMQ_URL": self.rabbitmq,
            "API_ADMIN_TOKEN": ADMIN_TOKEN,
            "APPSTACK_NAME": uuid4().hex,
            "METRICS_HOST": "127.0.0.1",
            "RATE_LIMIT_PER_SECOND": "1000000",
            "RATE_LIMIT_BURST": "1000000",
            "REDIS_TIMEOUT_SECONDS": "5",  # the machine is busy: that is no dead Redis
            **self.redis,
            **environment,
        }
        backend = Backend(settings, folder)
        try:
            yield backend
        finally:
            backend.stop()


@contextmanager
def site() -> Iterator[Site]:
    """Running servers."""
    servers.POSTGRES_SETTINGS["fsync"] = "on"
    with tempfile.TemporaryDirectory(prefix="appstack-bench-") as name:
        folder = Path(name)
        with (
            servers.postgres(folder / "postgres") as postgres,
            servers.redis(folder / "redis") as redis,
            servers.rabbitmq(folder / "rabbitmq") as rabbitmq,
        ):
            yield Site(folder, postgres.dsn, redis, rabbitmq.url)
