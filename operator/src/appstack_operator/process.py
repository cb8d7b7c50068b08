"""The life of an operator process: answers probes, waits for the Lease, works, gives the Lease back."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from appstack_operator import handlers, metrics
from appstack_operator.client import Api, ApiError
from appstack_operator.converge import Operator
from appstack_operator.daemons import Daemons
from appstack_operator.fence import Fence
from appstack_operator.health import Health
from appstack_operator.kinds import LEASE, STACK, Ref
from appstack_operator.leadership import Leadership
from appstack_operator.lease import Terms
from appstack_operator.lookout import Lookout
from appstack_operator.services.http import kept_connections
from appstack_operator.services.redis import kept_redis_connections
from appstack_operator.settings import Settings
from appstack_operator.stopping import is_told_to_stop_before

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
LOOK_SECONDS = 3.0  # whether a missing CRD has come
PAUSE_SECONDS = 0.2  # nothing is tried faster than this, whatever fails
TERMS = Terms()


def run(settings: Settings) -> None:
    """Run until the process is told to stop."""
    fence, health = Fence(), Health()
    collect_garbage_rarely()
    with asyncio.Runner(loop_factory=fence.loop_factory) as runner:
        runner.run(live(settings, fence, health))


def collect_garbage_rarely() -> None:
    """Each pass reads thousands of small objects that refer to nothing in a circle, and are freed without a collector.

    With Python's own thresholds it went through them again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def live(settings: Settings, fence: Fence, health: Health) -> None:
    """Everything from the first probe to the last word."""
    health.beat("loop")
    health.serve(settings.health_port)
    metrics.serve(settings.metrics_port)
    async with background(beat(health)):
        if not settings.lease_namespace:
            logger.warning("without a Lease: no other operator may run")
            metrics.IS_LEADER.set(1)
            await work(settings, fence, health, None)
            return
        lease_api = await Api.connect(read_seconds=TERMS.request_seconds, write_seconds=TERMS.request_seconds)
        ref = Ref(LEASE.name, settings.lease_namespace, settings.lease_name)
        leadership = Leadership(lease_api, ref, TERMS, fence, health)
        fence.watch()
        if await is_told_to_stop_before(leadership.acquire()):
            await leadership.release()  # it may just have been taken
            return
        async with background(leadership.keep()):
            await work(settings, fence, health, leadership)
        # Not after an error: then something may still be at work, and the Lease has to run out.
        await leadership.release()
        await lease_api.close()


async def work(settings: Settings, fence: Fence, health: Health, leadership: Leadership | None) -> None:
    """Watch and converge."""
    daemons: Daemons
    api = await Api.connect(may_write=lambda: fence.is_open and daemons.may_write, write_seconds=TERMS.write_seconds)
    health.is_ready = True  # also without a Lease
    async with kept_connections(), kept_redis_connections():
        operator = Operator(api, settings)
        daemons = Daemons(operator, health)
        lookout = Lookout(operator, heard=leadership.left() if leadership else ())
        if leadership:
            leadership.heard = lambda: lookout.heard
        lookout.start()
        try:
            await watch_for_ever(api, daemons, settings)
        finally:
            await asyncio.gather(lookout.stop(), daemons.stop())
            await api.close()


async def watch_for_ever(api: Api, daemons: Daemons, settings: Settings) -> None:
    """Watch until told to stop. A watch that breaks off in a way that kopf gives up at is begun anew."""
    while not await is_told_to_stop_before(kind_is_served(api)):
        try:
            await handlers.run(daemons, settings)
            return
        except Exception:
            metrics.WATCH_RESTARTS.inc()
            logger.exception("watching broke off, and begins anew")


async def kind_is_served(api: Api) -> None:
    """Return once the API server knows AppStacks: kopf looks for the kind only when it starts."""
    await asyncio.sleep(PAUSE_SECONDS)
    has_told = False
    while True:
        try:
            if await api.serves(STACK):
                return
            if not has_told:
                logger.warning("the CRD of AppStack is not installed; waiting for it")
            has_told = True
        except ApiError as error:
            logger.warning("the API server cannot be asked for its kinds: %s", error.message)
        await asyncio.sleep(LOOK_SECONDS)


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
