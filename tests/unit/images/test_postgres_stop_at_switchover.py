"""PostgreSQL is stopped before Patroni does it only where a switchover was asked for: real processes as the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import hand_over
import pytest
import stop_at_switchover
from stop_at_switchover import NOTE_SECONDS, is_wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
# A run in the background of a shell ignores SIGINT, and so would its children.
WILLING = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); time.sleep(60)"


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the note would lie; data lies beside it."""
    found = tmp_path / "switchover-under-way"
    monkeypatch.setattr(stop_at_switchover, "NOTE", found)
    monkeypatch.setattr(hand_over, "NOTE", found)
    monkeypatch.setattr(stop_at_switchover, "DATA", tmp_path)
    monkeypatch.setattr(stop_at_switchover, "PATIENCE_SECONDS", 0.3)
    return found


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is said to be the server, and that is reaped when it ends, as the first process does."""
    program = getattr(request, "param", WILLING)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
        assert made.stdout is not None
        made.stdout.readline()
        (tmp_path / "postmaster.pid").write_text(f"{made.pid}\n/data\n")
        threading.Thread(target=made.wait, daemon=True).start()
        yield made
        made.kill()


def test_without_a_switchover_nothing_is_stopped(note: Path, server: subprocess.Popen[bytes]) -> None:
    assert stop_at_switchover.main() == 0
    assert server.poll() is None
    assert not note.exists()


def test_at_a_switchover_the_server_gets_a_fast_shutdown_and_is_gone(
    note: Path, server: subprocess.Popen[bytes]
) -> None:
    note.touch()
    stop_at_switchover.PATIENCE_SECONDS = 60.0
    assert stop_at_switchover.main() == 0
    assert server.wait(60) == -signal.SIGINT


@pytest.mark.parametrize("server", [STUBBORN], indirect=True)
def test_a_server_that_takes_long_is_left_to_patroni(note: Path, server: subprocess.Popen[bytes]) -> None:
    note.touch()
    assert stop_at_switchover.main() == 1
    assert server.poll() is None


def test_a_server_that_is_gone_already_is_left_to_patroni(note: Path) -> None:
    note.touch()
    assert stop_at_switchover.main() == 1


def test_a_note_that_was_left_behind_counts_for_nothing(note: Path) -> None:
    note.touch()
    now = time.time()
    assert is_wanted(note, now)
    os.utime(note, (now, now - NOTE_SECONDS - 1))
    assert not is_wanted(note, now)


@pytest.mark.parametrize("fails", [False, True])
def test_the_note_lies_there_while_patroni_switches_over_and_goes_in_any_case(
    note: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    seen = []

    def patroni(*_: Any) -> str:
        seen.append(note.exists())
        if fails:
            raise OSError("refused")
        return "done"

    monkeypatch.setattr(hand_over, "ask", patroni)
    if fails:
        with pytest.raises(OSError, match="refused"):
            hand_over.switch_over("shop-postgres-0", "shop-postgres-1")
    else:
        assert hand_over.switch_over("shop-postgres-0", "shop-postgres-1") == "done"
    assert seen == [True]
    assert not note.exists()
