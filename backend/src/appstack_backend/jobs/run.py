"""The scheduled jobs by name. Each is idempotent; a second run beside the first one ends without work."""

from collections.abc import Awaitable, Callable

from appstack_backend.database import Connection
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


# Of a transaction, not of a session: a pooler gives a session's lock to the next client.
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('appstack job ' || %s, 0))"


async def run_job(settings: Settings, name: str) -> None:
    """Run one job to its end, unless another run of it is at work; a failure is an exception: its Job has failed.

    The lock goes with its connection, so a failover may let a second run in: the jobs are harmless to each other.
    """
    async with Stores(settings, f"job-{name}") as stores:

        async def alone(conn: Connection) -> None:
            row = await (await conn.execute(TRY_LOCK, (name,))).fetchone()
            if not row or not row[0]:
                log.warning("another run of this job is at work; nothing is left to do", job=name)
                return
            await JOBS[name](stores)
            log.info("job done", job=name)

        await stores.database.run(alone)
