"""A member's rewind on real servers: what it leaves when it ends, and when it is killed half-way."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.backend.kit import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.backend.kit.rootfs import Server

sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "postgres" / "agent"))
import rewind

HANG_SECONDS = 120.0
SETTINGS = "wal_log_hints = on\nwal_keep_size = 256MB\n"  # as in a stack


@pytest.fixture
def diverged(tmp_path: Path) -> Iterator[tuple[servers.Postgres, servers.Postgres]]:
    """A former primary, stopped, with writes of its own, and the new one."""
    with servers.postgres(tmp_path / "old") as old:
        old.append_settings(SETTINGS)
        old.kill()
        old.start()
        write(old, "CREATE TABLE kept (number int)", "INSERT INTO kept VALUES (1)")
        with servers.replica(tmp_path / "new", old) as new:
            write(new, "SELECT pg_promote()")
            write(new, "CHECKPOINT", "INSERT INTO kept VALUES (2)")
            write(old, "INSERT INTO kept SELECT generate_series(100, 5000)")
            old.kill()
            # As Patroni does before a rewind: whatever comes after the note must be pg_rewind's own.
            old.run("sh", "-c", f"env {servers.PATH} postgres --single -D /scratch/data postgres < /dev/null")
            yield old, new


def write(server: servers.Postgres, *statements: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def has_begun(data: Path) -> bool:
    """Whether pg_rewind has written."""
    note = rewind.note_beside(data)
    return note.exists() and rewind.has_been_touched(data, note.stat().st_mtime_ns)


def wait_for(is_there: Callable[[], bool], running: Server) -> None:
    """Until something that a running program does has happened."""
    give_up_at = time.monotonic() + HANG_SECONDS
    while not is_there():
        running.check()
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def rewind_command(source: str) -> tuple[str, ...]:
    script = ("python3", "/usr/local/lib/appstack/rewind.py", "-D", "/scratch/data", f"--source-server={source}")
    return ("env", servers.PATH, *script)


def test_a_rewind_that_ends_leaves_a_directory_that_counts(diverged: tuple[servers.Postgres, servers.Postgres]) -> None:
    old, new = diverged
    old.run(*rewind_command(new.dsn))
    assert not rewind.note_beside(old.data).exists()
    assert not rewind.discard_half_rewound(old.data)
    # As if the wrapper alone had been killed: the note is older than what pg_rewind wrote last.
    rewind.note_beside(old.data).touch()
    os.utime(rewind.note_beside(old.data), (0, 0))
    assert not rewind.discard_half_rewound(old.data)
    old.start()
    with psycopg.connect(old.dsn) as connection:
        assert connection.execute("SELECT number FROM kept ORDER BY 1").fetchall() == [(1,), (2,)]


def test_a_rewind_killed_before_it_wrote_costs_no_copy(diverged: tuple[servers.Postgres, servers.Postgres]) -> None:
    old, _ = diverged
    with socket.create_server(("127.0.0.1", 0)) as mute:  # a source that never answers holds it there
        running = old.launch(*rewind_command(f"host=127.0.0.1 port={mute.getsockname()[1]} user=app dbname=postgres"))
        wait_for(lambda: rewind.note_beside(old.data).exists(), running)
        running.stop()
    assert not rewind.discard_half_rewound(old.data)
    assert not rewind.note_beside(old.data).exists()
    assert old.data.exists()


def test_a_rewind_killed_half_way_bricks_no_member(diverged: tuple[servers.Postgres, servers.Postgres]) -> None:
    """The bug of others: PostgreSQL starts on files of two histories, or never again. Ours begins with an empty one."""
    old, new = diverged
    note = rewind.note_beside(old.data)
    with a_source_that_dies(new.port, lambda: has_begun(old.data), is_mute=True) as port:  # holds it half-way
        running = old.launch(*rewind_command(new.dsn.replace(f":{new.port}/", f":{port}/")))
        wait_for(lambda: has_begun(old.data), running)
        running.stop()
    assert rewind.is_half_rewound(old.data)
    assert rewind.discard_half_rewound(old.data)
    assert not old.data.exists(), "Patroni fetches a new copy into what is not there"
    assert not note.exists(), "the copy that comes is not taken for the old directory"


@contextmanager
def a_source_that_dies(port: int, is_time: Callable[[], bool], *, is_mute: bool = False) -> Iterator[int]:
    """The way to a server, which breaks for good, or lets nothing through any more, once it is time."""
    listener, died, over = socket.create_server(("127.0.0.1", 0)), threading.Event(), threading.Event()

    def forward(source: socket.socket, target: socket.socket) -> None:
        with source, target, suppress(OSError):  # the other direction has closed them
            while not died.is_set() and (piece := source.recv(16_384)):
                if is_time():
                    died.set()
                    break
                target.sendall(piece)
            if is_mute and died.is_set():
                over.wait()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=forward, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.close()


@pytest.mark.parametrize("is_begun", [True, False], ids=["in the middle", "before anything was written"])
def test_a_source_that_dies_leaves_no_directory_of_two_histories(
    diverged: tuple[servers.Postgres, servers.Postgres], is_begun: bool
) -> None:
    """Patroni keeps the directory where the primary is gone, and starts it once nobody leads."""
    old, new = diverged
    note = rewind.note_beside(old.data)
    with (
        a_source_that_dies(new.port, lambda: not is_begun or has_begun(old.data)) as port,
        pytest.raises(RuntimeError, match="failed in the image"),
    ):
        old.run(*rewind_command(new.dsn.replace(f":{new.port}/", f":{port}/")))
    assert not note.exists()
    assert old.data.exists() is not is_begun
