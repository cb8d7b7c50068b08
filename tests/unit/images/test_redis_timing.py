"""When a master that stops asks for a failover."""

from __future__ import annotations

import time

import pytest
from appstack_redis import ask, timing
from appstack_redis.settings import Group


def test_a_sentinel_that_does_not_answer_costs_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "SENTINEL_PORT", 9)
    group = Group("shop.shop", {}, {"shop-redis-sentinel-0": "127.0.0.1"}, 0)
    assert timing.good_moment(group, "secret") <= time.monotonic()


@pytest.mark.parametrize(
    ("ages", "fresh"), [([20, 90], True), ([20, 900], False), ([], False)], ids=["all", "not all", "nobody is up"]
)
def test_all_replicas_have_to_be_asked_just_before(ages: list[int], fresh: bool) -> None:
    assert timing.is_fresh(ages) is fresh


def test_a_replica_that_cannot_be_asked_is_not_waited_for() -> None:
    assert timing.is_up("slave")
    assert not timing.is_up("s_down,slave,disconnected")


def test_where_no_sentinel_is_known_nobody_is_asked() -> None:
    assert timing.good_moment(Group("shop.shop", {}, {}, 0), "secret") <= time.monotonic()
