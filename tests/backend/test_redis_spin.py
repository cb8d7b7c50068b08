"""A Sentinel that spins connects anew to all that it watches: real Sentinels, none of which loses its master by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appstack_redis import ask, spin
from appstack_redis.resp import Connection

from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.kit.redis_group import PODS, SENTINELS, redis_group, settings_of, wait_for_an_heir
from tests.backend.kit.servers import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.backend.kit.redis_group import RedisGroup

ME = "shop-redis-sentinel-1"
MASTER = "shop-redis-0"


def links(group: RedisGroup) -> dict[str, set[str]]:
    """Server or Sentinel -> the connections of our Sentinel to it, by number."""
    places = {PODS[MASTER]: group.port} | {
        address: group.sentinel_port for name, address in SENTINELS.items() if name != ME
    }
    found = {}
    for address, port in places.items():
        with Connection(address, port, PASSWORD, PATIENCE_SECONDS) as connection:
            me = f"name=sentinel-{run_id(group)[:8]}"
            lines = [line for line in connection.call("CLIENT", "LIST").splitlines() if me in line]
            found[address] = {line.split()[0] for line in lines}
    return found


def run_id(group: RedisGroup) -> str:
    with group.sentinel(SENTINELS[ME]) as connection:
        return str(connection.call("SENTINEL", "MYID"))


def test_all_its_connections_are_new_and_its_master_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_group(
        tmp_path, monkeypatch, me=MASTER, master=MASTER, follows={"shop-redis-1": MASTER, "shop-redis-2": MASTER}
    ) as group:
        settings = settings_of(MASTER, tmp_path)
        wait_until(lambda: len(ask.ask_sentinels(settings.group(), PASSWORD)) == len(SENTINELS), "all run")
        wait_for_an_heir(group)
        wait_until(lambda: all(links(group).values()), "it is connected to everybody")
        before = links(group)
        watch = spin.Watch(settings, SENTINELS[ME], group.sentinel_port)
        watch.look()
        watch.look()
        assert links(group) == before, "one that does not spin is left alone"

        monkeypatch.setattr(spin, "SPINNING_SHARE", 0.0)  # whatever it uses is too much
        monkeypatch.setattr(spin, "IDLE_COMMANDS_PER_CPU_SECOND", 1e9)
        watch.look()
        wait_until(lambda: all(links(group).values()), "it is connected to everybody again")
        after = links(group)
        assert all(after[place].isdisjoint(before[place]) for place in before)
        with group.sentinel(SENTINELS[ME]) as connection:
            told = connection.call("SENTINEL", "MASTER", "shop.shop")
        assert dict(zip(told[::2], told[1::2], strict=True))["flags"] == "master"
        assert "+sdown" not in group.servers[ME].log.read_text()
