"""Fixtures of the backend's tests: our own images' servers on loopback, and a database of its own for each test."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import aio_pika
import psycopg
import pytest

from appstack_backend import broker, schema
from tests.backend.kit import servers
from tests.backend.kit.processes import ADMIN_TOKEN, Backend
from tests.backend.kit.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

# The keepers of Redis are in no package of ours: they live with their image.
sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "redis"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[servers.Postgres, servers.Postgres]]:
    """A primary and its replica, of a module's own."""
    folder = tmp_path_factory.mktemp("pair")
    with servers.postgres(folder / "primary") as primary:
        schema.migrate(primary.dsn, schema.load_migrations())
        with servers.replica(folder / "replica", primary) as replica:
            yield primary, replica


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the servers' data."""
    folder = tmp_path_factory.mktemp("servers")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(scratch: Path) -> Iterator[str]:
    with servers.postgres(scratch / "postgres") as server:
        yield server.dsn


@pytest.fixture(scope="session")
def redis(scratch: Path) -> Iterator[dict[str, str]]:
    with servers.redis(scratch / "redis") as environment:
        yield environment


@pytest.fixture(scope="session")
def rabbitmq(scratch: Path) -> Iterator[str]:
    with servers.rabbitmq(scratch / "rabbitmq") as server:
        yield server.url


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """The name of a database with the schema, to be copied."""
    name = "migrated"
    dsn = new_database(postgres, name)
    schema.migrate(dsn, schema.load_migrations())
    return name


@pytest.fixture
def empty_dsn(postgres: str) -> Iterator[str]:
    """A database without a schema."""
    name = f"test_{uuid4().hex}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


@pytest.fixture
def dsn(postgres: str, migrated: str) -> Iterator[str]:
    """A database with the schema."""
    name = f"test_{uuid4().hex}"
    yield new_database(postgres, name, template=migrated)
    drop_database(postgres, name)


@pytest.fixture
def backend(dsn: str, redis: dict[str, str], rabbitmq: str, tmp_path: Path) -> Iterator[Backend]:
    """A backend of which nothing runs yet, with empty queues."""
    asyncio.run(purge_queues(rabbitmq))
    backend = Backend(settings(dsn, redis, rabbitmq), tmp_path)
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def world(
    postgres: str, migrated: str, redis: dict[str, str], rabbitmq: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A backend of a module's own, which receives one upload at a time and waits little for its database."""
    asyncio.run(purge_queues(rabbitmq))
    name = f"test_{uuid4().hex}"
    dsn = new_database(postgres, name, template=migrated)
    environment = settings(dsn, redis, rabbitmq) | {"IMPORT_MAX_UPLOADS": "1", "DATABASE_PATIENCE_SECONDS": "5"}
    backend = Backend(environment, tmp_path_factory.mktemp("world"))
    try:
        backend.start_api()
        backend.start_worker()
        yield World(backend, backend.client(), dsn, {})
    finally:
        backend.stop()
        drop_database(postgres, name)


def settings(dsn: str, redis: dict[str, str], rabbitmq: str) -> dict[str, str]:
    """The environment of a process; the cache's keys are this test's own."""
    return {
        "DATABASE_URL": dsn,
        "RABBITMQ_URL": rabbitmq,
        "API_ADMIN_TOKEN": ADMIN_TOKEN,
        "APPSTACK_NAME": uuid4().hex,
        "METRICS_HOST": "127.0.0.1",
        "IMPORT_CHUNK_ROWS": "500",
        "OUTBOX_POLL_SECONDS": "0.2",
        "REDIS_TIMEOUT_SECONDS": "5",  # a busy machine is no dead Redis
        **redis,
    }


def new_database(server: str, name: str, template: str = "template0") -> str:
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return re.sub(r"/postgres$", f"/{name}", server)


def drop_database(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def purge_queues(url: str) -> None:
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await broker.declare_queues(channel)
        for queue in broker.QUEUES:
            for name in (queue, broker.dead_letters(queue)):
                await (await channel.get_queue(name, ensure=False)).purge()
