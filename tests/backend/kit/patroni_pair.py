"""A primary and its synchronous standby under real Patroni, whose way to the API server a test may disturb."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.backend.kit.patroni import Member, Members
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.apiserver.kit.proxy import FaultProxy
    from tests.apiserver.kit.server import BareCluster

PATIENCE_SECONDS = 180


@asynccontextmanager
async def pair_behind(proxy: FaultProxy, cluster: BareCluster, folder: Path) -> AsyncIterator[tuple[Member, Member]]:
    """The two, running, without the agents beside them; they know the proxy alone."""
    members = Members(cluster, f"pair-{uuid4().hex[:6]}")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cluster.pki / "apiserver.crt", cluster.pki / "apiserver.key")
    async with proxy.serving(cluster.loopback, tls):
        members.api = proxy.url.removeprefix("https://")
        primary, standby = (Member(members, number, folder / str(number)) for number in (0, 1))
        try:
            primary.start(with_agent=False)
            await until_state(primary, "leader running")
            standby.start(with_agent=False)
            await until_state(standby, "sync_standby streaming")
            yield primary, standby
        finally:
            standby.stop()
            primary.stop()


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait beside the proxy, which runs in this thread's loop."""
    await asyncio.to_thread(wait_until, is_so, what, PATIENCE_SECONDS)


async def until_state(member: Member, state: str) -> None:
    """Wait until Patroni says that of a member."""
    await until(lambda: member.states().get(member.name) == state, f"{member.name} is {state}")
