"""What kopf does not do by itself: it is ended where it hangs, and a signal to stop is not forgotten over it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import kopf
import pytest

from appstack_operator import handlers
from appstack_operator.settings import Settings

SETTINGS = Settings(image_backend="b", image_postgres="p", image_redis="r", image_rabbitmq="q")


async def hang(*, ready_flag: asyncio.Event, **_: Any) -> None:
    """As kopf does when some of its watches took the end of another one for a pause."""
    ready_flag.set()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(60)


async def break_off(*, ready_flag: asyncio.Event, stop_flag: asyncio.Event, **_: Any) -> None:
    """An error in a watch while it ends."""
    ready_flag.set()
    await stop_flag.wait()
    raise OSError("the connection is gone")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "END_SECONDS", 0.2)
    monkeypatch.setattr(handlers, "TOLD_SECONDS", 0.1)


@pytest.mark.parametrize("watching", [hang, break_off])
async def test_who_is_told_to_stop_does_not_begin_anew(monkeypatch: pytest.MonkeyPatch, watching: Any) -> None:
    monkeypatch.setattr(kopf, "operator", watching)
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(40):
        await handlers.run(None, SETTINGS)  # type: ignore[arg-type]


async def test_watching_that_hangs_by_itself_is_an_error_after_which_it_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang_at_the_end(*, registry: kopf.OperatorRegistry, **arguments: Any) -> None:
        for each in registry._activities.get_all_handlers():  # kopf's cleanup tells that it ends
            if getattr(each.fn, "__name__", "") == "end":
                each.fn()  # type: ignore[call-arg]
        await hang(**arguments)

    monkeypatch.setattr(kopf, "operator", hang_at_the_end)
    async with asyncio.timeout(40):
        with pytest.raises(handlers.WatchingHangsError):
            await handlers.run(None, SETTINGS)  # type: ignore[arg-type]
