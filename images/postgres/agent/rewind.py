#!/usr/bin/python3
"""pg_rewind, as Patroni calls it, with a note beside the directory while it works.

A member that is killed in the middle of a rewind is left with files of two histories under a pg_control that calls them
one: PostgreSQL would start on them. The note tells the next start, which fetches a new copy instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PG_REWIND = "pg_rewind"
NOTE = "rewind-under-way"


def note_beside(data: Path) -> Path:
    """Where the note lies: pg_rewind removes what it does not know inside the directory."""
    return data.parent / NOTE


def is_half_rewound(data: Path) -> bool:
    """Whether a rewind of the directory began and did not end.

    pg_rewind writes pg_control last, and any server that runs on the directory writes it too: a younger one belongs to
    a rewind that ended, or to a copy that was made since (only the wrapper was killed, and Patroni went on).
    Crash recovery comes before: Patroni does it when it finds that the server was not shut down.
    """
    note, control = note_beside(data), data / "global" / "pg_control"
    if not note.exists() or not data.exists():
        return False
    return not control.exists() or control.stat().st_mtime_ns <= note.stat().st_mtime_ns


def discard_half_rewound(data: Path) -> bool:
    """Remove a directory that was half rewound; whether there was one. Safe to be killed in, and to repeat."""
    found = is_half_rewound(data)
    if found:
        shutil.rmtree(data)
    note_beside(data).unlink(missing_ok=True)
    return found


def main(arguments: list[str]) -> int:
    """Run pg_rewind; the note goes when it ends by itself, well or not (Patroni removes what a failed one leaves)."""
    if "-D" not in arguments:
        return subprocess.call([PG_REWIND, *arguments])
    note = note_beside(Path(arguments[arguments.index("-D") + 1]))
    with note.open("w") as file:
        file.write("a directory beside this note that is older than it was half rewound\n")
        file.flush()
        os.fsync(file.fileno())
    code = subprocess.call([PG_REWIND, *arguments])
    note.unlink()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
