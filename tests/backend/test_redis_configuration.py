"""What Redis and its Sentinels refuse: real servers with the configuration that the operator and the agents write."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from appstack_redis import keeper as keeping
from appstack_redis import sentinel as starting
from appstack_redis.keeper import Keeper
from appstack_redis.resp import Connection, RedisError, info
from appstack_redis.settings import Group, Settings

from appstack_operator.desired.redis import build_redis_conf, master_name
from appstack_operator.desired.templates import render
from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.kit.rootfs import Box, free_port
from tests.backend.kit.servers import PASSWORD, REDIS_USER
from tests.unit.operator.factories import a_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.backend.kit.rootfs import Server

STACK = a_stack()
MASTER, REPLICA, SENTINEL = "shop-redis-0", "shop-redis-1", "shop-redis-sentinel-0"
GROUP = Group(master_name(STACK), {MASTER: "127.0.2.1", REPLICA: "127.0.2.2"}, {SENTINEL: "127.0.2.11"}, 1)


class Pair:
    """A master and its replica."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.servers: dict[str, Server] = {}

    def ask(self, *words: str, pod: str = MASTER) -> str:
        """The answer in words, also a refusal."""
        try:
            with Connection(GROUP.redis[pod], self.port, PASSWORD, PATIENCE_SECONDS) as connection:
                return str(connection.call(*words))
        except RedisError as error:
            return str(error)

    def is_linked(self) -> bool:
        try:
            with Connection(GROUP.redis[REPLICA], self.port, PASSWORD) as connection:
                return info(connection, "replication").get("master_link_status") == "up"
        except OSError:
            return False


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    pair = Pair(free_port())
    for module in (keeping, starting):
        monkeypatch.setattr(module, "REDIS_PORT", pair.port)
    try:
        for pod, master in ((MASTER, ""), (REPLICA, MASTER)):
            own = Keeper(Settings(pod, PASSWORD, tmp_path, Path("/scratch"), tmp_path)).own_lines(GROUP, master)
            box = Box("redis", REDIS_USER, tmp_path / pod)
            here = [f"port {pair.port}", f"bind {GROUP.redis[pod]}"]
            text = "\n".join([build_redis_conf(STACK), *own, *here, ""])
            pair.servers[pod] = box.start("redis-server", box.write("redis.conf", text))
        wait_until(pair.is_linked, "the replica is linked")
        yield pair
    finally:
        for server in pair.servers.values():
            server.stop()


def test_a_master_that_nobody_follows_takes_no_writes(
    pair: Pair, record_property: Callable[[str, object], None]
) -> None:
    """What a cut-off master acknowledges vanishes; with the lag that it may, it does so for 4 s."""
    wait_until(lambda: pair.ask("SET", "one", "1") == "OK", "writes are taken")
    os.kill(pair.servers[REPLICA].pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        wait_until(lambda: pair.ask("SET", "two", "2").startswith("NOREPLICAS"), "writes are refused", 30)
        record_property("measured", f"refused after {time.monotonic() - stopped:.1f} s")
        assert pair.ask("GET", "one") == "1", "reads go on"
    finally:
        os.kill(pair.servers[REPLICA].pid, signal.SIGCONT)
    wait_until(lambda: pair.ask("SET", "three", "3") == "OK", "writes are taken again")


def test_a_sentinel_is_commanded_by_nobody_without_its_password(pair: Pair, tmp_path: Path) -> None:
    base, sentinel_port = render("sentinel.conf.j2", master_name=master_name(STACK)), free_port()
    text = starting.configuration(base, GROUP, SENTINEL, PASSWORD, GROUP.redis[MASTER])
    here = f"port {sentinel_port}\nbind {GROUP.sentinels[SENTINEL]}\ndir /scratch\n"
    box = Box("redis", REDIS_USER, tmp_path / SENTINEL)
    pair.servers[SENTINEL] = box.start("redis-server", box.write("redis.conf", text + here), "--sentinel")

    def told(password: str, *words: str) -> str:
        try:
            with Connection(GROUP.sentinels[SENTINEL], sentinel_port, password, PATIENCE_SECONDS) as connection:
                return str(connection.call("SENTINEL", *words, GROUP.master_name))
        except RedisError as error:
            return str(error)
        except OSError:
            return ""

    wait_until(lambda: GROUP.redis[MASTER] in told(PASSWORD, "GET-MASTER-ADDR-BY-NAME"), "it answers who may ask")
    for command in ("GET-MASTER-ADDR-BY-NAME", "FAILOVER", "REMOVE"):
        assert told("", command).startswith("NOAUTH"), command
        assert told("wrong", command).startswith("WRONGPASS"), command
    assert pair.ask("ROLE").startswith("['master'")
