"""An API server that answers late, or not at once: a primary goes on, and one that hands over gives its lock back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import psycopg
from aiohttp import web

from tests.apiserver.kit.proxy import FaultProxy
from tests.backend.kit.patroni_pair import pair_behind, until, until_state
from tests.backend.test_hand_over import HAND_OVER

if TYPE_CHECKING:
    from pathlib import Path

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


class RefusesOnce(FaultProxy):
    """The API server, which is too busy for the first request that gives the lock back; and what became of the lock."""

    told: list[str]

    async def pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.method != "PATCH" or not request.path.endswith("-leader"):
            return await super().pass_on(request, body)
        is_release = "leader" in (notes := notes_in(body)) and notes["leader"] is None
        if is_release and "refused" not in self.told:
            self.told.append("refused")
            return web.Response(status=500)
        self.told.append("given back" if is_release else f"renewed by {notes.get('leader')}")
        return await super().pass_on(request, body)


def notes_in(body: bytes) -> dict[str, str | None]:
    """The annotations that a patch changes."""
    notes: dict[str, str | None] = json.loads(body)["metadata"].get("annotations", {})
    return notes


async def test_a_lock_whose_release_failed_is_given_back_before_anything_else(
    tmp_path: Path, bare_cluster: BareCluster
) -> None:
    """Patroni takes no notice, and renews it: writers waited for 18 s at a drained node, until it had run out."""
    proxy = RefusesOnce(f"https://{bare_cluster.api}", bare_cluster.client_context())
    proxy.told = []
    async with pair_behind(proxy, bare_cluster, tmp_path) as (primary, standby):
        await asyncio.to_thread(primary.run, "python3", "-c", HAND_OVER, str(primary.rest_port))
        await until_state(standby, "leader running")
        told = proxy.told[proxy.told.index("refused") :]
        assert told[1] == "given back", told
