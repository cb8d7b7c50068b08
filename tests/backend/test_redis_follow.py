"""A replica whose master is gone, and whom no Sentinel tells of the next one, on real servers and Sentinels."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from appstack_redis.decide import Member
from appstack_redis.keeper import Keeper
from appstack_redis.resp import info

from tests.backend.kit.redis_group import PODS, redis_group, settings_of, tell, wait_for_group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GONE, ME, MASTER = PODS
LINK_SECONDS = 5.0
HANG_SECONDS = 120.0


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """That of a server that still follows the master that is gone, while all Sentinels watch another one."""
    with redis_group(tmp_path, monkeypatch, me=ME, master=MASTER, follows={ME: GONE}):
        keeper = Keeper(settings_of(ME, tmp_path))
        keeper.member = Member(ME, 4, 100, in_sync=True)
        wait_for_group(keeper)
        keeper._linked = time.monotonic()
        yield keeper
        keeper.disconnect()


def replication_after(keeper: Keeper, leading: Member, seconds: float = LINK_SECONDS) -> dict[str, str]:
    """What the server says of its master once it is linked, or so much later; the named pod's keeper tells this."""
    tell(leading)
    give_up_at = time.monotonic() + seconds
    while True:
        keeper.observe(60.0)
        facts = info(keeper.connection(), "replication")
        if facts.get("master_link_status") == "up" or time.monotonic() > give_up_at:
            return facts
        time.sleep(0.2)


def test_a_replica_that_no_sentinel_knows_follows_the_new_master(keeper: Keeper) -> None:
    leading = Member(MASTER, 5, 10, was_master=True, serves="master", in_sync=True)
    facts = replication_after(keeper, leading, HANG_SECONDS)
    assert (facts["master_host"], facts["master_link_status"]) == (PODS[MASTER], "up")


@pytest.mark.parametrize(
    "leading",
    [
        pytest.param(Member(MASTER, 3, 10, was_master=True, serves="master"), id="its data is older"),
        pytest.param(Member(MASTER, 5, 10, serves="replica"), id="it is not promoted yet"),
    ],
)
def test_a_replica_does_not_follow_one_that_is_behind_or_does_not_lead(keeper: Keeper, leading: Member) -> None:
    assert replication_after(keeper, leading)["master_host"] == PODS[GONE]
