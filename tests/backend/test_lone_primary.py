"""A primary whose other member is lost goes on while its API server is silent, and stops before its lock ends."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from aiohttp import web

from tests.apiserver.kit.proxy import FaultProxy
from tests.backend.kit.patroni_pair import pair_behind, until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.apiserver.kit.server import BareCluster
    from tests.backend.kit.patroni import Member

LOCK_SECONDS = 60
TTL_SECONDS = 20  # of any other lock
RENEWED = "I am (shop-postgres-0), the leader with the lock"
# What Patroni says once it has waited for its store in vain.
GOES_ON, STOPS = "nobody else may lead", "demoting self because DCS is not accessible"


class Silence(FaultProxy):
    """The API server takes every request, and answers none."""

    def __init__(self, upstream: str, context: ssl.SSLContext) -> None:
        super().__init__(upstream, context)
        self.speaks = asyncio.Event()
        self.speaks.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.speaks.is_set():
            return await super().handle(request)
        await self.speaks.wait()
        raise web.HTTPServiceUnavailable  # its client has gone long ago


def serves(member: Member) -> object:
    """When its server was started, as a primary that takes writes; None where it does not."""
    try:
        with psycopg.connect(member.dsn, autocommit=True, connect_timeout=2) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS written (t text)")
            connection.execute("INSERT INTO written VALUES ('a row')")
            return connection.execute("SELECT pg_postmaster_start_time()").fetchone()
    except psycopg.Error:
        return None


@asynccontextmanager
async def lone_primary(folder: Path, cluster: BareCluster) -> AsyncIterator[tuple[Member, Silence]]:
    """A primary that is recorded alone, since its standby is lost, and the door to its API server."""
    proxy = Silence(f"https://{cluster.api}", cluster.client_context())
    async with pair_behind(proxy, cluster, folder) as (primary, standby):
        standby.stop()
        await until(lambda: "Assigning synchronous standby status to []" in primary.log, "it is recorded alone")
        renewed = primary.log.count(RENEWED)
        await until(lambda: primary.log.count(RENEWED) > renewed + 1, "its lock was renewed since")
        try:
            yield primary, proxy
        finally:
            proxy.speaks.set()


async def test_a_short_silence_of_the_api_server_stops_no_lone_primary(
    tmp_path: Path, bare_cluster: BareCluster
) -> None:
    async with lone_primary(tmp_path, bare_cluster) as (primary, proxy):
        before = await asyncio.to_thread(serves, primary)
        proxy.speaks.clear()
        await until(lambda: GOES_ON in primary.log or STOPS in primary.log, "the silence is noticed")
        proxy.speaks.set()
        renewed = primary.log.count(RENEWED)
        await until(lambda: primary.log.count(RENEWED) > renewed, "the lock is renewed again")
        assert before is not None
        assert await asyncio.to_thread(serves, primary) == before, primary.log[-3000:]


@pytest.mark.long  # a minute of silence
async def test_a_lone_primary_stops_before_its_lock_ends(tmp_path: Path, bare_cluster: BareCluster) -> None:
    async with lone_primary(tmp_path, bare_cluster) as (primary, proxy):
        assert await asyncio.to_thread(serves, primary)
        proxy.speaks.clear()
        began = time.monotonic()  # the last renewal began before
        await until(lambda: time.monotonic() > began + TTL_SECONDS, "the time of a shorter lock is over")
        assert await asyncio.to_thread(serves, primary), primary.log[-3000:]
        await until(lambda: STOPS in primary.log, "the primary gives up")
        await until(lambda: serves(primary) is None, "it takes no more writes")
        assert time.monotonic() - began < LOCK_SECONDS - 1, "less than a second was left of its lock"
