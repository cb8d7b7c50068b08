"""The kit itself: servers of the tests are ours, and never outlive them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg

from tests.backend.kit.processes import wait_until
from tests.backend.kit.servers import PASSWORD, answers

STARTER = """
import sys
from pathlib import Path
from tests.backend.kit.servers import redis
with redis(Path(sys.argv[1])) as environment:
    print(environment["REDIS_URL"], flush=True)
    sys.stdin.read()
"""


def test_a_killed_test_run_leaves_no_server(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        port = int(run.stdout.readline().rpartition(":")[2].split("/")[0])
        ping = f"AUTH {PASSWORD}\r\nPING\r\n".encode()
        assert answers(port, ping, b"PONG")
        run.kill()
        run.wait()
    wait_until(lambda: not answers(port, ping, b"PONG"), "Redis is gone", 5)
    wait_until(lambda: str(tmp_path) not in mounted(), "nothing is mounted", 5)


def mounted() -> str:
    return Path("/proc/mounts").read_text()


def test_the_server_is_the_shipped_version(postgres: str) -> None:
    with psycopg.connect(postgres) as conn:
        assert conn.info.server_version // 10_000 == 17
