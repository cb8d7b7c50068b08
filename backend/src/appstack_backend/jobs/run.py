"""The scheduled jobs by name. Each is idempotent, and harmless when it runs twice at once."""

from collections.abc import Awaitable, Callable

from appstack_backend.logs import get_logger
from appstack_backend.outbox import sweep
from appstack_backend.processes import ABANDONED, Stores
from appstack_backend.repository import catalogue, housekeeping, imports, rescue
from appstack_backend.settings import Settings

log = get_logger()


async def purge_expired(stores: Stores) -> None:
    """Delete finished jobs and what else is older than its retention."""
    settings = stores.settings
    for what in housekeeping.PURGES:
        count = await housekeeping.purge(stores.database, what, settings.keep_jobs_days, settings.keep_payloads_hours)
        log.info("purged", what=what, count=count)


async def refresh_statistics(stores: Stores) -> None:
    """Count products by category and supplier."""
    await catalogue.refresh_counts(stores.database)


async def sweep_outbox(stores: Stores) -> None:
    """Publish what no relay published, end uploads that were abandoned, and rescue what stands still."""
    ended = await imports.end_abandoned(stores.database, ABANDONED)
    published = await sweep(stores.database, stores.publisher)
    rescued = 0
    for queue in rescue.RESCUES:
        if await stores.publisher.waiting(queue) == 0:
            rescued += await rescue.rescue(stores.database, queue, stores.settings.rescue_after_minutes)
    if rescued:
        log.warning("work stood still; its messages were made again", messages=rescued)
        published += await sweep(stores.database, stores.publisher)
    log.info("swept", published=published, ended_uploads=len(ended), rescued=rescued)


JOBS: dict[str, Callable[[Stores], Awaitable[None]]] = {
    "purge-expired": purge_expired,
    "refresh-statistics": refresh_statistics,
    "sweep-outbox": sweep_outbox,
}


async def run_job(settings: Settings, name: str) -> None:
    """Run one job to its end; a failure is an exception, so that its Job is marked as failed."""
    async with Stores(settings, f"job-{name}") as stores:
        await JOBS[name](stores)
    log.info("job done", job=name)
