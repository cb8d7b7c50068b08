"""A primary whose lock is renewed by an API server that answers too late goes on: its server is not stopped."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from tests.apiserver.kit.proxy import FaultProxy
from tests.backend.kit.patroni import Member, Members
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from tests.apiserver.kit.server import BareCluster

START_SECONDS = 180
CONFLICT = 409
# Patroni asks for 1.5 s, and once more; after the second answer it has less than a second of its three left.
DONE_SECONDS, CONFLICT_SECONDS = 1.7, 0.8
CONFLICTS = 5


class LateAnswers(FaultProxy):
    """The API server does at once what is asked for, and tells of the lock late."""

    is_slow = False
    conflicts = 0

    async def pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        answer = await super().pass_on(request, body)
        if self.is_slow and request.method == "PATCH" and request.path.endswith("-leader"):
            self.conflicts += answer.status == CONFLICT
            await asyncio.sleep(CONFLICT_SECONDS if answer.status == CONFLICT else DONE_SECONDS)
        return answer


def began(member: Member) -> object:
    """When its server was started, as a primary."""
    with psycopg.connect(member.dsn) as connection:
        return connection.execute("SELECT pg_postmaster_start_time() WHERE NOT pg_is_in_recovery()").fetchone()


async def test_a_renewal_that_meets_itself_demotes_nobody(tmp_path: Path, bare_cluster: BareCluster) -> None:
    members = Members(bare_cluster, f"slow-lock-{uuid4().hex[:6]}")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(bare_cluster.pki / "apiserver.crt", bare_cluster.pki / "apiserver.key")
    proxy = LateAnswers(f"https://{bare_cluster.api}", bare_cluster.client_context())
    async with proxy.serving(bare_cluster.loopback, tls):
        members.api = proxy.url.removeprefix("https://")
        primary, replica = (Member(members, number, tmp_path / str(number)) for number in (0, 1))

        async def until(member: Member, state: str) -> None:
            is_so = lambda: member.states().get(member.name) == state  # noqa: E731
            await asyncio.to_thread(wait_until, is_so, f"{member.name} is {state}", START_SECONDS)

        try:
            primary.start(with_agent=False)
            await until(primary, "leader running")
            replica.start(with_agent=False)
            await until(replica, "sync_standby streaming")
            before = began(primary)
            proxy.is_slow = True
            await asyncio.to_thread(wait_until, lambda: proxy.conflicts >= CONFLICTS, "renewals meet themselves", 120)
            proxy.is_slow = False
            await until(primary, "leader running")
            assert before is not None
            assert began(primary) == before, primary.log[-3000:]
        finally:
            replica.stop()
            primary.stop()
