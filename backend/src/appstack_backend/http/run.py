"""The API process: one granian server in one event loop, so that metrics and memory are those of one process."""

import asyncio
import signal
from contextlib import suppress

from granian.constants import Interfaces
from granian.server.embed import Server

from appstack_backend.cache import Cache
from appstack_backend.http.app import build_app
from appstack_backend.http.context import ApiState
from appstack_backend.logs import get_logger
from appstack_backend.processes import SCHEMA_POLL_SECONDS, Stores, keep_house, missing_migrations
from appstack_backend.settings import Settings

log = get_logger()
SCHEMA_WATCH_SECONDS = 15.0
GOODBYE_SECONDS = 5.0  # at the end of the drain, in which uploads that go on are ended in good order


async def run_api(settings: Settings) -> None:
    """Serve until SIGTERM; then let the endpoints forget this pod, finish the requests, and end."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with Stores(settings, "api") as stores:
        state = ApiState(settings, stores, Cache(settings))
        server = Server(
            build_app(state),
            address=settings.api_host,
            port=settings.api_port,
            interface=Interfaces.ASGINL,
            websockets=False,
            backlog=1024,
            log_enabled=False,
        )
        tasks = [
            asyncio.create_task(server.serve(), name="server"),
            asyncio.create_task(keep_house(stores), name="house"),
            asyncio.create_task(watch_schema(state), name="schema"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        log.info("api started", port=settings.api_port)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.error("a part of the process ended", parts=[task.get_name() for task in done])
        await drain(state)
        server.stop()  # type: ignore[no-untyped-call]
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await tasks[0]
        for task in tasks:
            task.cancel()
        await state.cache.close()
    log.info("api stopped")
    for task in done:
        task.result()


async def drain(state: ApiState) -> None:
    """Fail readiness, go on serving until nobody sends any more, then wait for the requests at hand.

    Each answer ends its connection from now on, so that who keeps one goes elsewhere within the pause.
    """
    state.is_draining = True
    log.info("draining", in_flight=state.in_flight)
    await asyncio.sleep(state.settings.drain_pause_seconds)
    seconds = state.settings.drain_timeout_seconds
    goodbye_seconds = min(GOODBYE_SECONDS, seconds / 2)
    if not await are_answered(state, seconds - goodbye_seconds):
        state.leave_senders()
        await are_answered(state, goodbye_seconds)


async def are_answered(state: ApiState, seconds: float) -> bool:
    """Whether no request is at hand any more, within some seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while state.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    return not state.in_flight


async def watch_schema(state: ApiState) -> None:
    """Know whether the database has the schema that this code needs."""
    while True:
        missing = await missing_migrations(state.stores)
        state.schema_missing = state.schema_missing if missing is None else missing
        await asyncio.sleep(SCHEMA_POLL_SECONDS if state.schema_missing != [] else SCHEMA_WATCH_SECONDS)
