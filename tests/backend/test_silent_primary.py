"""A standby that has released the lock of a silent primary does not wait for it once more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.apiserver.kit.proxy import FaultProxy
from tests.backend.kit.patroni_pair import pair_behind, until, until_state

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apiserver.kit.server import BareCluster

# As the agent does it once it has waited long enough.
RELEASE = """
import os, sys
sys.path.insert(0, "/usr/local/lib/appstack")
import agent, kube, patroni_api
from release_rules import Watch
patroni_api.PORT = int(sys.argv[1])
scope = os.environ["PATRONI_SCOPE"]
lock = agent.stored(kube.call("GET", f"configmaps/{scope}-leader"))
agent.release(scope, Watch(os.environ["POD_NAME"]).look(lock, 0.0))
"""
OWN_QUESTION = "Request failed to"  # of Patroni, after 2 s


async def test_the_promotion_hardly_waits_for_a_primary_that_was_found_silent(
    tmp_path: Path, bare_cluster: BareCluster
) -> None:
    proxy = FaultProxy(f"https://{bare_cluster.api}", bare_cluster.client_context())
    async with pair_behind(proxy, bare_cluster, tmp_path) as (primary, standby):
        primary.freeze()
        await asyncio.to_thread(standby.run, "python3", "-c", RELEASE, str(standby.rest_port))
        await until_state(standby, "leader running")
        before, _, _ = standby.log.partition("promoted self to leader")
        assert f"{primary.name} was found silent, and still is" in before, standby.log[-3000:]
        assert OWN_QUESTION not in before, standby.log[-3000:]


async def test_a_living_primary_takes_a_lock_back_that_was_released_for_no_good(
    tmp_path: Path, bare_cluster: BareCluster
) -> None:
    proxy = FaultProxy(f"https://{bare_cluster.api}", bare_cluster.client_context())
    async with pair_behind(proxy, bare_cluster, tmp_path) as (primary, standby):
        await asyncio.to_thread(standby.run, "python3", "-c", RELEASE, str(standby.rest_port))
        released = standby.log.count("no action")
        await until(lambda: standby.log.count("no action") > released + 3, "several loops have passed")
        await until_state(primary, "leader running")
        assert "promoted self to leader" not in standby.log
