"""What API, worker and jobs share: their connections, the outbox relay, and housekeeping in the background."""

import asyncio
from types import TracebackType
from typing import Self

import psycopg

from appstack_backend.broker import Publisher
from appstack_backend.database import Database
from appstack_backend.errors import ApiError
from appstack_backend.logs import get_logger
from appstack_backend.outbox import Relay
from appstack_backend.repository import imports
from appstack_backend.settings import Settings

log = get_logger()
HOUSEKEEPING_SECONDS = 5.0
ABANDONED = "the upload stopped and was not taken up again"


class Stores:
    """The connections of one process. Opening waits for nobody: services may still be starting."""

    def __init__(self, settings: Settings, component: str) -> None:
        size, patience = settings.database_pool_size, settings.database_patience_seconds
        self.settings = settings
        self.database = Database(settings.database_url, "primary", size, patience)
        self.readonly = Database(settings.readonly_url, "readonly", size, patience)
        self.publisher = Publisher(settings.rabbitmq_url, f"{settings.pod_name}/{component}")
        self.relay = Relay(self.database, self.publisher, settings.outbox_poll_seconds)

    async def __aenter__(self) -> Self:
        await self.database.open()
        await self.readonly.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.publisher.close()
        await self.readonly.close()
        await self.database.close()


async def keep_house(stores: Stores) -> None:
    """Relay the outbox and end abandoned uploads, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(stores.relay.run())
        group.create_task(end_abandoned_uploads(stores))


async def end_abandoned_uploads(stores: Stores) -> None:
    """Now and then; every process does it, the database lets each upload end once."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        stores.database.report()
        stores.readonly.report()
        try:
            for job in await imports.end_abandoned(stores.database, ABANDONED):
                log.warning("an upload was abandoned", job_id=str(job["id"]), state=job["state"])
                stores.relay.poke()
        except (ApiError, psycopg.Error) as error:
            log.warning("housekeeping has to wait", error=str(error).strip())
