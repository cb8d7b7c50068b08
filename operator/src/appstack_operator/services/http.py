"""Questions to services: one session for the process, so that a connection serves for the next one, as an URL does."""

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache

import aiohttp
from yarl import URL

TIMEOUT = aiohttp.ClientTimeout(total=2)
KEEP_SECONDS = 20.0  # a bit longer than calm services are asked rarely
MOST_URLS = 16_384  # of a thousand stacks
MOST_FILES = 65_536  # of what a machine allows: a mistake must not take all of it
SHARED: ContextVar[aiohttp.ClientSession | None] = ContextVar("session", default=None)


def allow_many_files() -> int:
    """Raise this process's own limit of open files as far as it may, and tell it.

    A stack has up to ten connections, kept between two questions; many machines start processes with a limit of
    1024 that each may raise. Beyond it no question could be asked, nor the API server reached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return most if soft == resource.RLIM_INFINITY else soft


@asynccontextmanager
async def kept_connections(most: int | None = None) -> AsyncIterator[None]:
    """For all that is asked in this block and in the tasks that it starts; no more than `most` questions at once.

    Half of the files that may be open: what waits for its turn longer than an answer may take counts as late, and that
    is better than a process that can open nothing any more. A low limit would let silent services keep others waiting.
    """
    connector = aiohttp.TCPConnector(limit=most or allow_many_files() // 2, keepalive_timeout=KEEP_SECONDS)
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


@lru_cache(MOST_URLS)
def url_of(address: str, port: int, path: str) -> URL:
    """The same at each look, so it is taken apart once: yarl itself remembers 128, as many as thirty stacks have."""
    return URL(f"http://{address}:{port}{path}", encoded=True)
