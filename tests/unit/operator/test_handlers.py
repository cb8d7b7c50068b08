"""How watching ends: told to by a signal, or by itself; never with what was begun meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kopf
import pytest
from aiohttp import web

from appstack_operator import daemons, handlers
from appstack_operator.daemons import Daemons
from appstack_operator.health import Health
from appstack_operator.settings import Settings
from appstack_operator.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SETTINGS = Settings(image_backend="b", image_postgres="p", image_redis="r", image_rabbitmq="q")


async def hang() -> None:
    """As kopf's watches do that take the end of another one for a pause."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(60)


async def go_on() -> None:
    await asyncio.sleep(60)


async def break_off() -> None:
    raise OSError("the connection is gone")


async def end_without_an_error() -> None:
    """As kopf does where one of its tasks was cancelled, not by it."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "END_SECONDS", 0.2)
    monkeypatch.setattr(handlers, "TOLD_SECONDS", 0.1)


def watch_by(monkeypatch: pytest.MonkeyPatch, *works: Any) -> list[asyncio.Task[None]]:
    """Put these in the place of what kopf does; what became of them."""
    tasks: list[asyncio.Task[None]] = []

    async def spawn_tasks(**_: Any) -> list[asyncio.Task[None]]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, lambda: None)  # as kopf does
        tasks.extend(asyncio.create_task(work()) for work in works)
        await asyncio.sleep(0)
        return tasks

    monkeypatch.setattr(kopf, "spawn_tasks", spawn_tasks)
    return tasks


@pytest.mark.parametrize("work", [go_on, hang])
async def test_who_is_told_to_stop_does_not_begin_anew(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    tasks = watch_by(monkeypatch, work, go_on)
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(40):
        await handlers.run(None, SETTINGS)  # type: ignore[arg-type]
    assert all(task.done() for task in tasks)


@pytest.mark.parametrize(
    ("work", "error"),
    [
        pytest.param(break_off, OSError, id="an error"),
        pytest.param(end_without_an_error, handlers.WatchingEndedError, id="no error"),
    ],
)
async def test_what_ends_by_itself_is_an_error_after_which_it_begins_anew(
    monkeypatch: pytest.MonkeyPatch, work: Any, error: type[Exception]
) -> None:
    tasks = watch_by(monkeypatch, work, hang, go_on)
    async with asyncio.timeout(40):
        with pytest.raises(error):
            await handlers.run(None, SETTINGS)  # type: ignore[arg-type]
    assert all(task.done() for task in tasks)


def test_no_timer_of_kopf_kills_the_process_after_a_watch_has_begun_anew() -> None:
    assert handlers.build_settings(SETTINGS).process.ultimate_exiting_timeout is None


@pytest.mark.parametrize("status", [200, 404], ids=["told to stop", "broken off"])
async def test_a_pass_outlives_kopf(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """In the end kopf's own runner cancels whatever task is younger than itself, and what that was writing."""
    has_begun, may_end, has_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    kept = Daemons(SimpleNamespace(turns=Turns(1), looks={}, settings=SETTINGS), Health())  # type: ignore[arg-type]

    async def one_pass(*_: object) -> float:
        has_begun.set()
        await may_end.wait()
        has_ended.set()
        return 600.0

    async def answer(request: web.Request) -> web.Response:
        """Of an API server that knows no kinds; as it is asked for the first time kopf has begun."""
        kept.see("shop", "shop", 1)
        await has_begun.wait()
        answered = status if request.path == "/apis" else web.HTTPOk.status_code
        return web.json_response({"versions": [], "groups": [], "resources": []}, status=answered)

    async def tell_to_stop() -> None:
        await has_begun.wait()
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(daemons, "run_pass", one_pass)
    telling = asyncio.create_task(tell_to_stop() if status == web.HTTPOk.status_code else has_begun.wait())
    async with served(answer) as url, asyncio.timeout(40):
        monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: kopf.ConnectionInfo(server=url))
        with suppress(Exception):
            await handlers.run(kept, SETTINGS)
        may_end.set()
        await has_ended.wait()
    await telling
    await kept.stop()


@asynccontextmanager
async def served(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """Whatever is asked for there is answered so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()
