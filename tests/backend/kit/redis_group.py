"""Redis servers and Sentinels of one stack on loopback, and this pod's keeper, which asks them where they are."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from appstack_redis import ask, ghosts, hand_over, probes
from appstack_redis import keeper as keeping
from appstack_redis import sentinel as starting
from appstack_redis.resp import Connection, RedisError, info
from appstack_redis.settings import Group, Settings

from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.kit.rootfs import Box, Server, free_port
from tests.backend.kit.servers import PASSWORD, REDIS_USER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pytest
    from appstack_redis.decide import Member
    from appstack_redis.keeper import Keeper

# Pods of one stack have one port and addresses of their own: all of 127.0.0.0/8 is loopback.
PODS = {f"shop-redis-{number}": f"127.0.1.{1 + number}" for number in range(3)}
SENTINELS = {f"shop-redis-sentinel-{number}": f"127.0.1.{11 + number}" for number in range(3)}
# A file that grows beyond what the test allows is to be an error of the disk, and not the server's end.
SERVER = ("env", "--ignore-signal=XFSZ", "redis-server")
PRELOADING = f"LD_PRELOAD={starting.PRELOADED}"
SENTINEL = ("env", PRELOADING, "redis-sentinel")  # as the image starts it
COMMON = f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\ndir /scratch\nsave ''\n"


@dataclass(frozen=True, slots=True)
class RedisGroup:
    """Servers that run, by pod, and the ports of Redis and of the Sentinels."""

    folder: Path
    port: int
    sentinel_port: int
    servers: dict[str, Server]
    born_with: dict[str, str]  # what each Sentinel without a past is told

    def start_again(self, name: str) -> None:
        """One that was stopped, with the configuration that it left."""
        program = SENTINEL if name in SENTINELS else SERVER
        self.servers[name] = Box("redis", REDIS_USER, self.folder / name).start(*program, "/scratch/redis.conf")

    def start_anew(self, sentinel: str) -> None:
        """One that was stopped, without a past."""
        Box("redis", REDIS_USER, self.folder / sentinel).write("redis.conf", self.born_with[sentinel])
        self.start_again(sentinel)

    def add(self, name: str, line: str) -> None:
        """A line of the configuration that it starts with next."""
        with (self.folder / name / "scratch" / "redis.conf").open("a") as file:
            file.write(f"{line}\n")

    def sentinel(self, address: str) -> Connection:
        """A connection that is patient with a busy machine."""
        return Connection(address, self.sentinel_port, PASSWORD, PATIENCE_SECONDS)

    def server(self, pod: str) -> Connection:
        """The same to a Redis."""
        return Connection(PODS[pod], self.port, PASSWORD, PATIENCE_SECONDS)

    def is_refused_by(self, sentinel: str) -> bool:
        """Whether this Sentinel has looked at the replicas of a master that is down, and finds none to promote."""
        try:
            with self.sentinel(sentinel) as connection:
                told = connection.call("SENTINEL", "REPLICAS", "shop.shop")
                if "0" in {dict(zip(each[::2], each[1::2], strict=True))["master-link-down-time"] for each in told}:
                    return False
                connection.call("SENTINEL", "FAILOVER", "shop.shop")
        except (OSError, RedisError) as error:
            return "NOGOODSLAVE" in str(error)
        return False


@contextmanager
def redis_group(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, me: str, master: str, follows: Mapping[str, str]
) -> Iterator[RedisGroup]:
    """A master that three Sentinels watch, and who follows whom. What `me` runs knows their ports."""
    port, sentinel_port, keeper_port = free_port(), free_port(), free_port()
    for module in (keeping, hand_over, starting):
        monkeypatch.setattr(module, "REDIS_PORT", port)
    for module in (ask, ghosts):
        monkeypatch.setattr(module, "SENTINEL_PORT", sentinel_port)
    for asked in (ask, probes):
        monkeypatch.setattr(asked, "KEEPER_PORT", keeper_port)
    running: dict[str, Server] = {}
    born_with: dict[str, str] = {}
    group = Group("shop.shop", PODS, SENTINELS, 1)
    try:
        for pod in (master, *follows):
            own = "127.0.0.1 " if pod == me else ""
            text = f"port {port}\nbind {own}{PODS[pod]}\nreplica-announce-ip {PODS[pod]}\n{COMMON}"
            text += f"replicaof {PODS[follows[pod]]} {port}\n" if pod in follows else ""
            box = Box("redis", REDIS_USER, folder / pod)
            running[pod] = box.start(*SERVER, box.write("redis.conf", text))
        for name, address in SENTINELS.items():
            watch = f"sentinel monitor shop.shop {PODS[master]} {port} 2\nsentinel auth-pass shop.shop {PASSWORD}\n"
            told = f"requirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\nsentinel announce-ip {address}\n"
            text = f"port {sentinel_port}\nbind {address}\ndir /scratch\n{told}{watch}"
            born_with[name] = starting.with_members(text, group)
            box = Box("redis", REDIS_USER, folder / name)
            running[name] = box.start(*SENTINEL, box.write("redis.conf", born_with[name]))
        yield RedisGroup(folder, port, sentinel_port, running, born_with)
    finally:
        for server in running.values():
            server.stop()


def settings_of(pod: str, folder: Path) -> Settings:
    """What a keeper is told when it starts."""
    members = {"masterName": "shop.shop", "redis": PODS, "sentinels": SENTINELS, "minReplicas": 1}
    (folder / "members.json").write_text(json.dumps(members))
    return Settings(pod, PASSWORD, folder, folder, folder)


def wait_for_group(keeper: Keeper) -> None:
    """Until all Sentinels know the master, and the keeper's own server answers."""
    group = keeper.settings.group()
    wait_until(lambda: len(ask.ask_sentinels(group, PASSWORD)) == len(SENTINELS), "all Sentinels know the master")
    wait_until(lambda: is_answered(keeper), "the server answers")


def wait_for_an_heir(group: RedisGroup) -> None:
    """Until every Sentinel could promote a replica: it asks each server what it is only once in ten seconds."""
    wait_until(
        lambda: all(knows_an_heir(each, group) for each in SENTINELS.values()), "all Sentinels have met a replica"
    )


def knows_an_heir(sentinel: str, group: RedisGroup) -> bool:
    with group.sentinel(sentinel) as connection:
        told = connection.call("SENTINEL", "REPLICAS", "shop.shop")
    replicas = [dict(zip(each[::2], each[1::2], strict=True)) for each in told]
    return any(replica["master-link-status"] == "ok" for replica in replicas)


def is_answered(keeper: Keeper) -> bool:
    try:
        return bool(info(keeper.connection(), "replication"))
    except OSError:
        return False


def tell(member: Member) -> None:
    """Have the keepers of all other pods say this."""
    probes.serve(state=lambda: json.dumps(asdict(member)), live=lambda: True, ready=lambda: True)
