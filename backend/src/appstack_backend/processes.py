"""What API, worker and jobs share: their connections, the outbox relay, and housekeeping in the background."""

import asyncio
from types import TracebackType
from typing import Self

import psycopg

from appstack_backend import schema
from appstack_backend.broker import Publisher
from appstack_backend.database import Database
from appstack_backend.errors import ApiError
from appstack_backend.logs import get_logger
from appstack_backend.metrics import OUTBOX_AGE
from appstack_backend.outbox import Relay
from appstack_backend.reads import OBSERVE_SECONDS, Reads
from appstack_backend.repository import imports, messages, subscriptions
from appstack_backend.settings import Settings

log = get_logger()
HOUSEKEEPING_SECONDS, PROMOTE_SECONDS = 5.0, 1.0
REPLICA_POOL_SECONDS = 0.2
SCHEMA_POLL_SECONDS = 1.0
ABANDONED = "the upload stopped and was not taken up again"


class Stores:
    """The connections of one process. Opening waits for nobody: services may still be starting."""

    def __init__(self, settings: Settings, component: str) -> None:
        size, patience = settings.database_pool_size, settings.database_patience_seconds
        self.settings = settings
        self.database = Database(settings.database_url, "primary", size, patience)
        # Whoever finds none of its connections free learns after a blink whether there is any at all.
        replica = Database(settings.database_readonly_url, "readonly", size, 0.0, REPLICA_POOL_SECONDS, may_follow=True)
        self.reads = Reads(
            self.database, replica if settings.has_replica else None, settings.replica_most_stale_seconds
        )
        self.publisher = Publisher(settings.rabbitmq_url, f"{settings.pod_name}/{component}")
        self.relay = Relay(self.database, self.publisher, settings.outbox_poll_seconds)

    async def __aenter__(self) -> Self:
        await self.database.open()
        if self.reads.replica is not None:
            await self.reads.replica.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.publisher.close()
        if self.reads.replica is not None:
            await self.reads.replica.close()
        await self.database.close()


async def keep_house(stores: Stores) -> None:
    """Relay the outbox, end abandoned uploads, and send webhooks again when they are due, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(stores.relay.run())
        group.create_task(end_abandoned_uploads(stores))
        group.create_task(promote_deliveries(stores))
        group.create_task(observe_primary(stores))


async def missing_migrations(stores: Stores) -> list[int] | None:
    """What this code needs and the database lacks; None if that cannot be read now."""
    migrations = schema.load_migrations()
    try:
        applied = {row["version"] for row in await stores.database.fetch_all(schema.APPLIED)}
    except psycopg.errors.UndefinedTable:
        applied = set()
    except (ApiError, psycopg.Error) as error:
        log.warning("the schema cannot be read now", error=str(error).strip())
        return None
    return schema.missing_versions(applied, migrations)


async def wait_for_schema(stores: Stores) -> None:
    """Until the database has all migrations: a worker that began earlier would fail its messages."""
    while (missing := await missing_migrations(stores)) != []:
        if missing:
            log.warning("waiting for migrations", missing=missing)
        await asyncio.sleep(SCHEMA_POLL_SECONDS)


async def end_abandoned_uploads(stores: Stores) -> None:
    """Now and then, with a look at what waits; every process does it, the database lets each upload end once."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        stores.database.report()
        if stores.reads.replica is not None:
            stores.reads.replica.report()
        try:
            OUTBOX_AGE.set(await messages.age_seconds(stores.database))
            for job in await imports.end_abandoned(stores.database, ABANDONED):
                log.warning("an upload was abandoned", job_id=str(job["id"]), state=job["state"])
                stores.relay.poke()
        except (ApiError, psycopg.Error) as error:
            log.warning("housekeeping has to wait", error=str(error).strip())


async def promote_deliveries(stores: Stores) -> None:
    """Send webhooks that are due for another attempt to the queue."""
    while True:
        await asyncio.sleep(PROMOTE_SECONDS)
        try:
            if await subscriptions.promote(stores.database):
                stores.relay.poke()
        except (ApiError, psycopg.Error) as error:
            log.warning("webhooks have to wait", error=str(error).strip())


async def observe_primary(stores: Stores) -> None:
    """Keep knowing how far a replica must be to be read at all."""
    while stores.reads.replica is not None:
        try:
            await stores.reads.observe()
        except (ApiError, psycopg.Error) as error:
            log.warning("the primary's position cannot be read now", error=str(error).strip())
        await asyncio.sleep(OBSERVE_SECONDS)
