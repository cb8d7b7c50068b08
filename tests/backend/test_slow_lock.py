"""A primary whose lock is renewed by an API server that answers too late goes on: its server is not stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg

from tests.apiserver.kit.proxy import FaultProxy
from tests.backend.kit.patroni_pair import pair_behind, until, until_state

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from tests.apiserver.kit.server import BareCluster
    from tests.backend.kit.patroni import Member

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
    proxy = LateAnswers(f"https://{bare_cluster.api}", bare_cluster.client_context())
    async with pair_behind(proxy, bare_cluster, tmp_path) as (primary, _):
        before = began(primary)
        proxy.is_slow = True
        await until(lambda: proxy.conflicts >= CONFLICTS, "renewals meet themselves")
        proxy.is_slow = False
        await until_state(primary, "leader running")
        assert before is not None
        assert began(primary) == before, primary.log[-3000:]
