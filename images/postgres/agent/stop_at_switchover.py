#!/usr/bin/python3
"""Patroni's before_stop: at a switchover that hand_over.py asked for, stops PostgreSQL and watches it closely.

Patroni looks right after its own signal and then once a second, and the lock is released only once the server is gone.
Without the note nothing is done: Patroni calls this before every stop, also where PostgreSQL has to end immediately.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

NOTE = Path("/run/postgresql/switchover-under-way")
DATA = Path("/var/lib/postgresql/data/pgdata")
# A note that is older was left behind by a hand over that was killed.
NOTE_SECONDS = 30.0
# Beyond this Patroni's own stop goes on: it knows what to do where a replica holds the server up.
PATIENCE_SECONDS = 2.0


def is_wanted(note: Path, now: float) -> bool:
    """Whether a switchover is under way; `now` in seconds since the epoch, like the note's own time."""
    try:
        return now - note.stat().st_mtime < NOTE_SECONDS
    except FileNotFoundError:
        return False


def stop(data: Path, patience_seconds: float) -> bool:
    """A fast shutdown as Patroni asks for it, too; whether the server is gone: its walsenders have sent everything."""
    deadline = time.monotonic() + patience_seconds
    pid = int((data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def main() -> int:
    """Stop PostgreSQL where a switchover is under way."""
    if not is_wanted(NOTE, time.time()):
        return 0
    try:
        return 0 if stop(DATA, PATIENCE_SECONDS) else 1
    except (OSError, ValueError, IndexError) as error:
        sys.stderr.write(f"stop at switchover: left to Patroni: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
