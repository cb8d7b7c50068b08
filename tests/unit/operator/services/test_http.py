"""Questions share one session, which never opens more files than a process may."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from aiohttp import web

from appstack_operator.services.http import MOST_FILES, kept_connections, session


async def test_no_more_is_asked_at_once_than_may_be_and_all_is_answered() -> None:
    open_now, most_open = 0, 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal open_now, most_open
        open_now += 1
        most_open = max(most_open, open_now)
        await asyncio.sleep(0.05)
        open_now -= 1
        return web.Response(text="yes")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    async def ask() -> str:
        async with session() as http, http.get(f"http://127.0.0.1:{port}/") as response:
            return await response.text()

    async with kept_connections(most=3):
        answers = await asyncio.gather(*(ask() for _ in range(20)))
    await runner.cleanup()
    assert answers == ["yes"] * 20
    assert most_open == 3


def limit_after(soft: int, hard: int) -> tuple[int, int]:
    """What a process with these limits of open files tells, and what it may open then."""
    code = (
        "import resource; from appstack_operator.services.http import allow_many_files;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "print(allow_many_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    told, allowed = done.stdout.split()
    return int(told), int(allowed)


def test_a_process_raises_its_limit_as_far_as_it_may() -> None:
    assert limit_after(256, 1000) == (1000, 1000)
    assert limit_after(1000, 1000) == (1000, 1000)
    assert MOST_FILES <= 2**16
