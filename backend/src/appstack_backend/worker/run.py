"""The worker process: consumers, a relay, and an orderly end."""

import asyncio
import signal
from typing import Any

from appstack_backend.cache import Cache
from appstack_backend.logs import get_logger
from appstack_backend.processes import Stores, keep_house, wait_for_schema
from appstack_backend.settings import Settings
from appstack_backend.webhooks.deliver import Sender
from appstack_backend.worker.consumer import Consumer
from appstack_backend.worker.tasks import Services, Worker

log = get_logger()


def concurrency(settings: Settings, queue: str) -> int:
    """How many messages of a queue are worked on at once: webhooks wait for others, and take no place from the rest."""
    return settings.worker_concurrency + (settings.webhook_concurrency if queue == "notifications" else 0)


async def run_worker(settings: Settings, queues: list[str]) -> None:
    """Work until SIGTERM; then finish what is in hand, within the drain timeout."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with Stores(settings, "worker") as stores:
        cache = Cache(settings)
        sender = Sender(settings)
        services = Services(
            settings, stores.database, stores.reads, cache, stores.publisher, stores.relay, sender, stop
        )
        waiting = asyncio.create_task(stop.wait())
        ready = asyncio.create_task(wait_for_schema(stores))
        await asyncio.wait((ready, waiting), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        house = asyncio.create_task(keep_house(stores))
        consumers = [
            Consumer(
                settings.rabbitmq_url,
                queue,
                f"{settings.pod_name}/{queue}",
                concurrency(settings, queue),
                settings.worker_watch_seconds,
                Worker(services, queue).work,
            ).run(stop)
            for queue in queues
        ]
        log.info("worker started", queues=queues)
        running = asyncio.ensure_future(asyncio.gather(*consumers))
        parts: list[asyncio.Future[Any]] = [running, waiting, house]
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        if house.done():
            house.result()  # a defect: end, and be started anew
        try:
            async with asyncio.timeout(settings.drain_timeout_seconds if stop.is_set() else None):
                await running
        except TimeoutError:
            log.warning("some messages were not finished in time; they are given back")
        house.cancel()
        await sender.close()
        await cache.close()
    log.info("worker stopped")
