"""Another stack's Redis at the address of a member: Sentinels of real servers leave it, and its data, alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from appstack_redis.ghosts import DOWN, ask_known
from appstack_redis.keeper import Keeper
from appstack_redis.resp import Connection, info

from tests.backend.kit.processes import wait_until
from tests.backend.kit.redis_group import (
    PODS,
    SENTINELS,
    SERVER,
    redis_group,
    settings_of,
    wait_for_an_heir,
    wait_for_group,
)
from tests.backend.kit.rootfs import Box
from tests.backend.kit.servers import PASSWORD, REDIS_USER

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)

MASTER, ME, OTHER = PODS
THEIR_PASSWORD = "of-another-stack"
# A Sentinel that may command it makes a replica of it, and so empties it, after 8 s; it asks who is there every second.
LEFT_ALONE_SECONDS = 15.0


def test_a_server_of_another_stack_at_a_members_address_keeps_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_group(tmp_path, monkeypatch, me=ME, master=MASTER, follows={ME: MASTER, OTHER: MASTER}) as running:
        keeper = Keeper(settings_of(ME, tmp_path))
        wait_for_group(keeper)
        wait_for_an_heir(running)
        keeper.disconnect()
        running.servers[OTHER].stop()
        box = Box("redis", REDIS_USER, tmp_path / "theirs")
        text = f"port {running.port}\nbind {PODS[OTHER]}\nrequirepass {THEIR_PASSWORD}\ndir /scratch\nsave ''\n"
        running.servers[OTHER] = box.start(*SERVER, box.write("redis.conf", text))
        wait_until(lambda: put(running.port), "their server answers")
        time.sleep(LEFT_ALONE_SECONDS)
        for sentinel in SENTINELS.values():
            known = ask_known(sentinel, "shop.shop", PASSWORD)
            assert known is not None and known.replicas[PODS[OTHER]] & DOWN, "nobody it could promote"
        with theirs(running.port) as connection:
            assert info(connection, "replication")["role"] == "master"
            assert connection.call("GET", "kept") == "1"


def theirs(port: int) -> Connection:
    return Connection(PODS[OTHER], port, THEIR_PASSWORD, 5.0)


def put(port: int) -> bool:
    try:
        with theirs(port) as connection:
            return bool(connection.call("SET", "kept", 1) == "OK")
    except OSError:
        return False
