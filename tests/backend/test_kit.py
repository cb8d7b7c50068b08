"""The kit itself: servers of the tests are ours, and never outlive them."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.backend.kit import servers
from tests.backend.kit.processes import descendants, wait_until
from tests.backend.kit.servers import PASSWORD, answers

STARTER = """
import sys
from pathlib import Path
from tests.backend.kit.servers import {server}
with {server}(Path(sys.argv[1])) as told:
    print({url}, flush=True)
    sys.stdin.read()
"""


def test_a_killed_test_run_leaves_no_server(tmp_path: Path) -> None:
    starter = STARTER.format(server="redis", url="told['REDIS_URL']")
    command = [sys.executable, "-c", starter, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        port = int(run.stdout.readline().rpartition(":")[2].split("/")[0])
        ping = f"AUTH {PASSWORD}\r\nPING\r\n".encode()
        assert answers(port, ping, b"PONG")
        run.kill()
        run.wait()
    wait_until(lambda: not answers(port, ping, b"PONG"), "Redis is gone")
    wait_until(lambda: str(tmp_path) not in mounted(), "nothing is mounted")


def test_a_killed_test_run_leaves_no_shared_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER.format(server="postgres", url="'it runs'"), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "it runs\n"
        started = [pid for pid in descendants(run.pid) if name_of(pid) == "postgres"]
        used = {path.name for path in Path(f"/proc/{started[0]}/root/dev/shm").iterdir()}
        run.kill()
        run.wait()
    wait_until(lambda: not Path(f"/proc/{started[0]}").exists(), "PostgreSQL is gone")
    assert used
    assert used.isdisjoint(path.name for path in Path("/dev/shm").iterdir())


def test_a_stopped_server_has_left_its_port(tmp_path: Path) -> None:
    """One that starts in its place takes the same."""
    with servers.postgres(tmp_path) as server:
        for _ in range(3):
            server.kill()
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
                listener.bind(("127.0.0.1", server.port))
                listener.listen()
            server.start()


def name_of(pid: int) -> str:
    """The name of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def mounted() -> str:
    return Path("/proc/mounts").read_text()


def test_the_server_is_the_shipped_version(postgres: str) -> None:
    with psycopg.connect(postgres) as conn:
        assert conn.info.server_version // 10_000 == 17
