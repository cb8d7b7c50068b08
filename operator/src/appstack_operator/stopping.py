"""The signals by which a process is told to stop: none is forgotten, whatever is waited for."""

import asyncio
import signal
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

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
def minding_signals(is_told: asyncio.Event) -> Iterator[Callable[[], None]]:
    """Note a signal that comes in this block; what it gives is called where somebody may have taken the signals."""
    loop = asyncio.get_running_loop()

    def mind() -> None:
        for each in SIGNALS:
            loop.add_signal_handler(each, is_told.set)

    mind()
    try:
        yield mind
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)


async def end(tasks: Collection[asyncio.Task[Any]], package: str, patience_seconds: float) -> None:
    """End these, and then what of that package does not end by itself when they do."""
    for task in tasks:
        task.cancel()
    _, late = await asyncio.wait(tasks, timeout=patience_seconds)
    if left := {*late, *(task for task in asyncio.all_tasks() if runs_code_of(package, task))}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=patience_seconds)


def runs_code_of(package: str, task: asyncio.Task[Any]) -> bool:
    """Whether the code that a task was begun with is of this package."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame is not None and str(frame.f_globals["__name__"]).partition(".")[0] == package
