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
# It was above 0.9 without what the image has for this, and is below 0.01 with it.
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


# What connect() says, first and again, and between the two whether epoll finds an error. The first one may be the C
# library's own, as it is called where nothing stands before it.
CONNECT = """
import ctypes, errno, select, socket, struct, sys
place, begins = sys.argv[1:]
libc = ctypes.CDLL("libc.so.6", use_errno=True)

def begin(end):
    if begins == "preloaded":
        return end.connect_ex((place, 6379))
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 6379) + socket.inet_aton(place) + bytes(8)
    return ctypes.get_errno() if libc.connect(end.fileno(), address, len(address)) else 0

with socket.socket() as end:
    end.setblocking(False)
    first = begin(end)
    waiting = select.poll()
    waiting.register(end, select.POLLIN)
    is_woken = any(event & select.POLLERR for _, event in waiting.poll(0))
    print(errno.errorcode[first], is_woken, errno.errorcode[end.connect_ex((place, 6379))])
"""


@pytest.mark.parametrize(
    ("environment", "begins", "said"),
    [
        pytest.param((), "preloaded", "EINPROGRESS True EALREADY", id="what Linux does by itself"),
        pytest.param((PRELOADING,), "preloaded", "ECONNREFUSED ", id="at once"),
        pytest.param((PRELOADING,), "by libc", "EINPROGRESS True ECONNREFUSED", id="as the library asks again"),
    ],
)
def test_a_connection_that_is_refused_within_connect_is_told_as_refused(
    environment: tuple[str, ...], begins: str, said: str, hosts: Network, tmp_path: Path
) -> None:
    home = hosts.add(HOME)
    hosts.refuse(HOME, PLACE)
    box = Box("redis", REDIS_USER, tmp_path, home)
    assert box.run("env", *environment, "python3", "-c", CONNECT, PLACE, begins).startswith(said)


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
