"""A replica whose master is gone, and whom no Sentinel tells of the next one, on real servers and Sentinels."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backend.kit.rootfs import Box, Server, free_port
from tests.backend.kit.servers import PASSWORD, REDIS_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "redis"))
from appstack_redis import ask, probes
from appstack_redis import keeper as keeping
from appstack_redis.decide import Member
from appstack_redis.keeper import Keeper
from appstack_redis.resp import info
from appstack_redis.settings import Settings

# Pods of one stack have one port and addresses of their own: all of 127.0.0.0/8 is loopback.
GONE, ME, MASTER = (f"shop-redis-{number}" for number in range(3))
PODS = {GONE: "127.0.1.1", ME: "127.0.1.2", MASTER: "127.0.1.3"}
SENTINELS = {f"shop-redis-sentinel-{number}": f"127.0.1.{11 + number}" for number in range(3)}
COMMON = f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\ndir /scratch\nsave ''\n"
LINK_SECONDS = 5.0


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A master that all three Sentinels watch, and this pod's server, which still follows the one that is gone."""
    port, sentinel_port, keeper_port = free_port(), free_port(), free_port()
    monkeypatch.setattr(keeping, "REDIS_PORT", port)
    monkeypatch.setattr(ask, "SENTINEL_PORT", sentinel_port)
    for module in (ask, probes):
        monkeypatch.setattr(module, "KEEPER_PORT", keeper_port)
    watch = f"sentinel monitor shop.shop {PODS[MASTER]} {port} 2\nsentinel auth-pass shop.shop {PASSWORD}\n"
    servers = {
        "master": (port, f"bind {PODS[MASTER]}\n{COMMON}"),
        "me": (port, f"bind 127.0.0.1 {PODS[ME]}\n{COMMON}replicaof {PODS[GONE]} {port}\n"),
        **{
            name: (sentinel_port, f"bind {address}\nrequirepass {PASSWORD}\ndir /scratch\n{watch}")
            for name, address in SENTINELS.items()
        },
    }
    running: list[Server] = []
    try:
        for name, (at, text) in servers.items():
            box = Box("redis", REDIS_USER, tmp_path / name)
            mode = ["--sentinel"] if name in SENTINELS else []
            running.append(box.start("redis-server", box.write("redis.conf", f"port {at}\n{text}"), *mode))
        yield
    finally:
        for server in running:
            server.stop()


@pytest.fixture
def keeper(tmp_path: Path, ports: None) -> Iterator[Keeper]:
    members = {"masterName": "shop.shop", "redis": PODS, "sentinels": SENTINELS, "minReplicas": 1}
    (tmp_path / "members.json").write_text(json.dumps(members))
    keeper = Keeper(Settings(ME, PASSWORD, tmp_path, tmp_path, tmp_path))
    keeper.member = Member(ME, 4, 100, in_sync=True)
    give_up_at = time.monotonic() + 30
    while len(ask.ask_sentinels(keeper.settings.group(), PASSWORD)) < len(SENTINELS) or not is_answered(keeper):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    keeper._linked = time.monotonic()
    yield keeper
    keeper.disconnect()


def is_answered(keeper: Keeper) -> bool:
    try:
        return bool(info(keeper.connection(), "replication"))
    except OSError:
        return False


def replication_after(keeper: Keeper, leading: Member) -> dict[str, str]:
    """What the server says of its master once its keeper has looked, while the named pod's keeper tells this."""
    probes.serve(state=lambda: json.dumps(asdict(leading)), live=lambda: True, ready=lambda: True)
    give_up_at = time.monotonic() + LINK_SECONDS
    while True:
        keeper.observe(60.0)
        facts = info(keeper.connection(), "replication")
        if facts.get("master_link_status") == "up" or time.monotonic() > give_up_at:
            return facts
        time.sleep(0.2)


def test_a_replica_that_no_sentinel_knows_follows_the_new_master(keeper: Keeper) -> None:
    facts = replication_after(keeper, Member(MASTER, 5, 10, was_master=True, serves="master", in_sync=True))
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
