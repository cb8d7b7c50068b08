"""The life of an operator process: answers probes, waits for the Lease, works, gives the Lease back."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from appstack_operator import handlers, metrics
from appstack_operator.client import Api
from appstack_operator.converge import Operator
from appstack_operator.fence import Fence
from appstack_operator.health import Health
from appstack_operator.kinds import LEASE, Ref
from appstack_operator.leadership import Leadership
from appstack_operator.lease import Terms
from appstack_operator.settings import Settings

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
TERMS = Terms()


def run(settings: Settings) -> None:
    """Run until the process is told to stop."""
    fence, health = Fence(), Health()
    with asyncio.Runner(loop_factory=fence.loop_factory) as runner:
        runner.run(live(settings, fence, health))


async def live(settings: Settings, fence: Fence, health: Health) -> None:
    """Everything from the first probe to the last word."""
    health.beat("loop")
    health.serve(settings.health_port)
    metrics.serve(settings.metrics_port)
    async with background(beat(health)):
        if not settings.lease_namespace:
            logger.warning("without a Lease: no other operator may run")
            metrics.IS_LEADER.set(1)
            await work(settings, fence, health)
            return
        lease_api = await Api.connect(read_seconds=TERMS.request_seconds, write_seconds=TERMS.request_seconds)
        ref = Ref(LEASE.name, settings.lease_namespace, settings.lease_name)
        leadership = Leadership(lease_api, ref, TERMS, fence, health)
        fence.watch()
        if await is_told_to_stop_before(leadership.acquire()):
            await leadership.release()  # it may just have been taken
            return
        async with background(leadership.keep()):
            await work(settings, fence, health)
        # Not after an error: then something may still be at work, and the Lease has to run out.
        await leadership.release()
        await lease_api.close()


async def work(settings: Settings, fence: Fence, health: Health) -> None:
    """Watch and converge."""
    api = await Api.connect(may_write=lambda: fence.is_open, write_seconds=TERMS.write_seconds)
    health.is_ready = True  # also without a Lease
    try:
        await handlers.run(Operator(api, settings), health)
    finally:
        await api.close()


async def beat(health: Health) -> None:
    """Tell that the event loop turns."""
    while True:
        health.beat("loop")
        await asyncio.sleep(BEAT_SECONDS)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let something run beside the body, and end it with the body."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def is_told_to_stop_before(waiting: Coroutine[Any, Any, None]) -> bool:
    """Wait; True if a signal came first. (kopf minds the signals later.)"""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, stop.set)
    tasks = [asyncio.create_task(waiting), asyncio.create_task(stop.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for each in signals:
        loop.remove_signal_handler(each)
    for task in tasks:
        task.cancel()
    if not stop.is_set():
        await tasks[0]  # raises what it raised
    return stop.is_set()
