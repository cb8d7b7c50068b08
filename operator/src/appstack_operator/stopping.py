"""The signals by which a process is told to stop: none is forgotten, whatever is waited for."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def is_told_to_stop_before(waiting: Coroutine[Any, Any, None]) -> bool:
    """Wait; True if a signal came first. (While kopf runs, `minding_signals` does.)"""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for each in SIGNALS:
        loop.add_signal_handler(each, stop.set)
    tasks = [asyncio.create_task(waiting), asyncio.create_task(stop.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for each in SIGNALS:
        loop.remove_signal_handler(each)
    for task in tasks:
        task.cancel()
    if not stop.is_set():
        await tasks[0]  # raises what it raised
    return stop.is_set()


@contextmanager
def minding_signals(is_started: asyncio.Event, is_told: asyncio.Event) -> Iterator[None]:
    """Note a signal that comes in this block; from the start on of something that has taken the signals for itself.

    An error after it ends the block, and nothing else: nobody wants what broke off to begin anew.
    """
    loop = asyncio.get_running_loop()

    async def mind() -> None:
        await is_started.wait()
        for each in SIGNALS:
            loop.add_signal_handler(each, is_told.set)

    minding = asyncio.create_task(mind())
    try:
        yield
    except Exception:
        if not is_told.is_set():
            raise
        logger.exception("an error after the signal to stop")
    finally:
        minding.cancel()
        for each in SIGNALS:
            loop.remove_signal_handler(each)
