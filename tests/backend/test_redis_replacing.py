"""Real Sentinels: the one that replaces a master says so before any of them names the next one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from appstack_redis import ask
from appstack_redis.roles import LocalSentinel

from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.kit.redis_group import PODS, SENTINELS, redis_group, settings_of, wait_for_an_heir
from tests.backend.kit.servers import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MASTER = "shop-redis-0"


def test_a_failover_is_seen_before_its_winner_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follows = dict.fromkeys(sorted(PODS.keys() - {MASTER}), MASTER)
    with redis_group(tmp_path, monkeypatch, me=MASTER, master=MASTER, follows=follows) as group:
        settings = settings_of(MASTER, tmp_path)
        known = settings.group()
        wait_until(lambda: len(ask.ask_sentinels(known, PASSWORD)) == len(SENTINELS), "all Sentinels know the master")
        wait_for_an_heir(group)
        local = [LocalSentinel(settings) for _ in SENTINELS]
        for each, address in zip(local, SENTINELS.values(), strict=True):
            each._connection, each._name = group.sentinel(address), "shop.shop"
            each._connection.call("SENTINEL", "SET", "shop.shop", "down-after-milliseconds", 1000)
        assert [each.master() for each in local] == [PODS[MASTER]] * 3
        assert not any(each.is_replacing(PODS[MASTER]) for each in local), "all is well"
        group.servers[MASTER].stop()
        seen = looks(local)
        replacing = [names for names, are_replacing in seen if any(are_replacing)]
        assert replacing, "nobody said so"
        assert set(replacing[0]) == {PODS[MASTER]}, "said too late"
        assert not any(
            is_replacing
            for names, are_replacing in seen
            for name, is_replacing in zip(names, are_replacing, strict=True)
            if name != PODS[MASTER]
        ), "said of the winner"


def looks(local: list[LocalSentinel]) -> list[tuple[list[str], list[bool]]]:
    """What each names, and whether it replaces that, again and again until all name another one."""
    found: list[tuple[list[str], list[bool]]] = []
    end = time.monotonic() + PATIENCE_SECONDS
    while not found or PODS[MASTER] in found[-1][0]:
        assert time.monotonic() < end, found[-5:]
        names = [each.master() or "" for each in local]
        found.append((names, [each.is_replacing(name) is True for each, name in zip(local, names, strict=True)]))
        time.sleep(0.02)
    return found
