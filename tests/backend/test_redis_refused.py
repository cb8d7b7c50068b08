"""A Sentinel whose server an empty Service stands for waits in peace, and finds it when it is back: real ones."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backend.kit.network import Network, network
from tests.backend.kit.processes import wait_until
from tests.backend.kit.redis_group import PRELOADING, SENTINEL, SERVER
from tests.backend.kit.rootfs import Box, Server
from tests.backend.kit.servers import REDIS_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME, PLACE = "10.9.0.1", "10.9.0.9"  # of the Sentinel, and of its master
WATCHED_SECONDS = 4.0
# It was above 0.9 without what the image has for this, and is 0.01 with it.
MOST_OF_A_PROCESSOR = 0.2


@pytest.fixture
def hosts() -> Iterator[Network]:
    with network() as made:
        yield made


@contextmanager
def watching(hosts: Network, folder: Path) -> Iterator[Server]:
    """A Sentinel whose master is refused from its start."""
    box = Box("redis", REDIS_USER, folder / "sentinel", hosts.add(HOME))
    hosts.refuse(HOME, PLACE)
    text = f"port 26379\nprotected-mode no\ndir /scratch\nsentinel monitor shop.shop {PLACE} 6379 1\n"
    text += "sentinel down-after-milliseconds shop.shop 3000\n"
    sentinel = box.start(*SENTINEL, box.write("redis.conf", text))
    try:
        wait_until(lambda: "+sdown" in log_of(sentinel), "its master counts as down")
        yield sentinel
    finally:
        sentinel.stop()


def log_of(server: Server) -> str:
    return server.log.read_text(errors="replace")


def used_seconds(server: Server) -> float:
    """Of a processor, since its start."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share_used(server: Server) -> float:
    """Of a processor, for some seconds from now."""
    before, since = used_seconds(server), time.monotonic()
    time.sleep(WATCHED_SECONDS)
    return (used_seconds(server) - before) / (time.monotonic() - since)


# Of a socket whose connection has begun: what connect() says, first and again, and whether epoll finds an error.
CONNECT = """
import errno, select, socket, sys
with socket.socket() as end:
    end.setblocking(False)
    said = [errno.errorcode[end.connect_ex((sys.argv[1], 6379))]]
    waiting = select.epoll()
    waiting.register(end, select.EPOLLIN)
    said.append(bool(waiting.poll(0)) and waiting.poll(0)[0][1] & select.EPOLLERR == select.EPOLLERR)
    said.append(errno.errorcode[end.connect_ex((sys.argv[1], 6379))])
print(*said)
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param(PRELOADING, "ECONNREFUSED", id="taken"),
        pytest.param("A=b", "EINPROGRESS True EALREADY", id="what Linux does by itself"),
    ],
)
def test_a_connection_that_is_refused_within_connect_is_told_as_refused(
    more: str, said: str, hosts: Network, tmp_path: Path
) -> None:
    home = hosts.add(HOME)
    hosts.refuse(HOME, PLACE)
    box = Box("redis", REDIS_USER, tmp_path, home)
    assert box.run("env", more, "python3", "-c", CONNECT, PLACE).startswith(said)


def test_it_uses_next_to_nothing_while_the_service_is_empty(hosts: Network, tmp_path: Path) -> None:
    with watching(hosts, tmp_path) as sentinel:
        assert share_used(sentinel) < MOST_OF_A_PROCESSOR


def test_it_uses_next_to_nothing_once_a_connection_that_was_refused_at_first_is_made(
    hosts: Network, tmp_path: Path
) -> None:
    server = Box("redis", REDIS_USER, tmp_path / "server", hosts.add(PLACE)).start(*SERVER, "--protected-mode", "no")
    try:
        with watching(hosts, tmp_path) as sentinel:
            hosts.refuse_nothing(HOME)
            wait_until(lambda: "-sdown" in log_of(sentinel), "it has found its master")
            assert share_used(sentinel) < MOST_OF_A_PROCESSOR
    finally:
        server.stop()
