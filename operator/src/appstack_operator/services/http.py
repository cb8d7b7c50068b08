"""The session for questions to services: one for the process, so that each connection serves for the next question."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import aiohttp

TIMEOUT = aiohttp.ClientTimeout(total=2)
KEEP_SECONDS = 20.0  # a bit longer than calm services are asked rarely
SHARED: ContextVar[aiohttp.ClientSession | None] = ContextVar("session", default=None)


@asynccontextmanager
async def kept_connections() -> AsyncIterator[None]:
    """For all that is asked in this block and in the tasks that it starts."""
    # No limit: stacks whose services are silent would keep the others waiting.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS)
    async with new_session(connector) as session:
        token = SHARED.set(session)
        try:
            yield
        finally:
            SHARED.reset(token)


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The shared session, or, where there is none, one for this block."""
    if shared := SHARED.get():
        yield shared
        return
    async with new_session() as own:
        yield own


def new_session(connector: aiohttp.TCPConnector | None = None) -> aiohttp.ClientSession:
    """A session that remembers nothing of one service that another might be told."""
    return aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
