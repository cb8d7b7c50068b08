"""Ports for the servers of the tests: two processes that run tests at the same time never get the same one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backend.kit import rootfs

if TYPE_CHECKING:
    from collections.abc import Iterator

ANOTHER = """
import sys
from tests.backend.kit import rootfs
rootfs.CLAIM, rootfs.LOWEST_PORT = sys.argv[1], int(sys.argv[2])
print(rootfs.free_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lowest(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of two blocks, which nobody else claims."""
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    monkeypatch.setattr(rootfs, "CLAIM", f"test-of-ports-{os.getpid()}")
    monkeypatch.setattr(rootfs, "LOWEST_PORT", first_given - 2 * rootfs.BLOCK)
    monkeypatch.setattr(rootfs, "_left", [])
    monkeypatch.setattr(rootfs, "_claims", [])
    yield rootfs.LOWEST_PORT
    for claim in rootfs._claims:
        claim.close()


@contextmanager
def another(lowest: int) -> Iterator[int]:
    """A process that got one port, whose server is still to come: the block of it."""
    words = [sys.executable, "-c", ANOTHER, rootfs.CLAIM, str(lowest)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield (int(process.stdout.readline()) - lowest) // rootfs.BLOCK
        process.kill()


def test_two_processes_never_get_the_same_port(lowest: int) -> None:
    """Whoever got one may bind it only seconds later: until then it looks free to everybody."""
    with another(lowest) as theirs:
        ours = (rootfs.free_port() - lowest) // rootfs.BLOCK
        assert {ours, theirs} == {0, 1}
        with pytest.raises(RuntimeError, match="tests hold every port"):
            rootfs.claim_block()
    assert {(port - lowest) // rootfs.BLOCK for port in rootfs.claim_block()} == {theirs}, "its end gives them back"


def test_no_port_is_given_twice(lowest: int) -> None:
    ports = [rootfs.free_port() for _ in range(rootfs.BLOCK + 10)]
    assert len(set(ports)) == len(ports)


def test_a_port_that_is_taken_at_any_address_is_not_given(lowest: int) -> None:
    """A server of all addresses, as the operator's metrics are, could not have it."""
    del lowest
    wanted = rootfs.free_port()
    with socket.create_server(("127.9.9.9", wanted)):
        rootfs._left.append(wanted)
        assert rootfs.free_port() != wanted
