"""A master that is gone for good, and Sentinels that were away or start anew: the group goes on, on real servers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from appstack_redis import ask
from appstack_redis import hand_over as handing
from appstack_redis.decide import PATIENCE_SECONDS, PATIENCE_WITH_SILENCE_SECONDS, Member, undisputed_master
from appstack_redis.keeper import Keeper
from appstack_redis.resp import info

from tests.backend.kit.processes import wait_until
from tests.backend.kit.redis_group import (
    PODS,
    SENTINELS,
    redis_group,
    settings_of,
    wait_for_an_heir,
    wait_for_group,
)
from tests.backend.kit.servers import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)

GONE, ME, OTHER = PODS
DOWN_AFTER_MILLISECONDS = 500
# Ten times that is how long a link may have been down before a Sentinel took the master for down.
AWAY_SECONDS = 8.0
# The other replica has no keeper here. A Sentinel that missed it in the failover turns it when that timed out: 180 s.
RECONFIGURED_SECONDS = 240.0


def test_replicas_that_no_sentinel_promotes_any_more_start_anew_and_one_of_them_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    others = {OTHER: Member(OTHER, 4, 90, serves="replica", in_sync=True)}
    monkeypatch.setattr(ask, "ask_member", lambda pod, _: others.get(pod))
    with redis_group(tmp_path, monkeypatch, me=ME, master=GONE, follows={ME: GONE, OTHER: GONE}) as running:
        keeper = Keeper(settings_of(ME, tmp_path))
        keeper.member, keeper._announced = Member(ME, 4, 100, serves="replica", in_sync=True), PODS[ME]
        wait_for_group(keeper)
        wait_for_an_heir(running)
        for address in SENTINELS.values():
            with running.sentinel(address) as sentinel:
                sentinel.call("SENTINEL", "SET", "shop.shop", "down-after-milliseconds", DOWN_AFTER_MILLISECONDS)
        for name in (*SENTINELS, GONE):
            running.servers[name].stop()
        time.sleep(AWAY_SECONDS)
        for name in SENTINELS:
            running.start_again(name)
        wait_until(lambda: all(map(running.is_refused_by, SENTINELS.values())), "no Sentinel promotes anybody")

        keeper.server = running.servers[ME].process
        keeper._linked = time.monotonic() - PATIENCE_WITH_SILENCE_SECONDS - 1
        keeper.observe(900.0)
        assert "starting anew" in caplog.text
        keeper.disconnect()
        # As the keepers do: all follow whom the Sentinels name, and nobody is promoted by itself.
        for pod in (ME, OTHER):
            running.servers[pod].stop()
            running.add(pod, "replica-priority 0")
        others[OTHER] = Member(OTHER, 4, 90, serves="replica")
        keeper.member = Member(ME, 4, 100, serves="replica")
        for pod in (ME, OTHER):
            running.start_again(pod)
        wait_for_group(keeper)

        def leads() -> bool:
            try:
                keeper.observe(PATIENCE_SECONDS + 1)
                return info(keeper.connection(), "replication")["role"] == "master"
            except OSError:  # a Sentinel that promotes one ends its clients' connections
                keeper.disconnect()
                return False

        wait_until(leads, "the newest leads", RECONFIGURED_SECONDS)
        wait_until(
            lambda: handing.replication_of(PODS[OTHER], PASSWORD).get("master_host") == PODS[ME],
            "it is followed",
            RECONFIGURED_SECONDS,
        )
        keeper.disconnect()


def test_sentinels_that_never_met_the_master_promote_a_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_group(tmp_path, monkeypatch, me=ME, master=GONE, follows={ME: GONE, OTHER: GONE}) as running:
        keeper = Keeper(settings_of(ME, tmp_path))
        wait_for_group(keeper)
        wait_for_an_heir(running)
        for name in (*SENTINELS, GONE):
            running.servers[name].stop()
        for name in SENTINELS:
            running.start_anew(name)
        group = keeper.settings.group()
        wait_until(lambda: ask.ask_failover(group, PASSWORD)[0], "a Sentinel promotes one")
        heirs = {PODS[ME], PODS[OTHER]}
        wait_until(
            lambda: undisputed_master(ask.ask_sentinels(group, PASSWORD), len(SENTINELS)) in heirs,
            "all Sentinels name it",
            RECONFIGURED_SECONDS,
        )
        keeper.disconnect()
