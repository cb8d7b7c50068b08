#!/usr/bin/python3
"""pg_rewind, as Patroni calls it, with a note beside the directory while it works.

A member that is killed in the middle of a rewind is left with files of two histories under a pg_control that calls them
one: PostgreSQL would start on them. The note tells the next start, which fetches a new copy instead. The same where the
source dies in the middle: Patroni keeps such a directory, as it cannot tell it from one that was not touched yet.

And it keeps WAL: a rewound server begins where the last common checkpoint began, which a long checkpoint leaves far
behind. pg_rewind removes the segments that its source does not have any more, also those of the common history.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PG_REWIND = "pg_rewind"
NOTE = "rewind-under-way"
KEPT_WAL = "wal-before-rewind"
WAL = "pg_wal"
SEGMENT = re.compile("[0-9A-F]{24}")  # its timeline, and the upper and lower half of its number
# A line of a history file: a timeline, and the position at which the next one left it.
SWITCH = re.compile(r"(\d+)\s+([0-9A-F]+)/([0-9A-F]+)")


def note_beside(data: Path) -> Path:
    """Where the note lies: pg_rewind removes what it does not know inside the directory."""
    return data.parent / NOTE


def keep_wal(data: Path) -> None:
    """Give the WAL segments of a directory second names beside it: no copies.

    A volume that takes no such names costs a member its own WAL, and no rewind.
    """
    kept = data.parent / KEPT_WAL
    shutil.rmtree(kept, ignore_errors=True)
    with suppress(OSError):
        kept.mkdir(mode=0o700)
        for segment in (data / WAL).iterdir():
            if SEGMENT.fullmatch(segment.name):
                os.link(segment, kept / segment.name)


def give_wal_back(data: Path) -> None:
    """Put back what the source did not have of the history that both have in common: segments before their parting.

    Does nothing to a directory that was not rewound, or is gone. What was kept is gone afterwards.
    """
    kept, histories = data.parent / KEPT_WAL, sorted((data / WAL).glob("*.history"))
    with suppress(OSError):
        lines = (SWITCH.match(line) for line in histories[-1].read_text().splitlines()) if histories else ()
        ends = {int(line[1]): int(line[2], 16) << 32 | int(line[3], 16) for line in lines if line}
        for segment in kept.glob("*"):
            timeline, upper, lower = (int(segment.name[start : start + 8], 16) for start in (0, 8, 16))
            size, place = segment.stat().st_size, data / WAL / segment.name
            if (upper << 32) + (lower + 1) * size <= ends.get(timeline, 0) and not place.exists():
                segment.rename(place)
    shutil.rmtree(kept, ignore_errors=True)


def is_half_rewound(data: Path) -> bool:
    """Whether a rewind of the directory began to write and did not end: one that only read leaves a whole copy.

    pg_rewind writes pg_control last, and any server that runs on the directory writes it too: a younger one belongs to
    a rewind that ended, or to a copy that was made since (only the wrapper was killed, and Patroni went on).
    Crash recovery comes before: Patroni does it when it finds that the server was not shut down.
    """
    note, control = note_beside(data), data / "global" / "pg_control"
    if not note.exists() or not data.exists():
        return False
    begun_ns = note.stat().st_mtime_ns
    if control.exists() and control.stat().st_mtime_ns > begun_ns:
        return False
    return not control.exists() or has_been_touched(data, begun_ns)


def discard_half_rewound(data: Path) -> bool:
    """Remove a directory that was half rewound; whether there was one. Safe to be killed in, and to repeat."""
    found = is_half_rewound(data)
    if found:
        remove(data)
    give_wal_back(data)  # killed when pg_rewind had ended, perhaps
    note_beside(data).unlink(missing_ok=True)
    return found


def remove(data: Path) -> None:
    """Remove a directory, so that what is left of it when this is killed counts as half rewound, too."""
    (data / "global" / "pg_control").unlink(missing_ok=True)
    shutil.rmtree(data)


def has_been_touched(data: Path, since_ns: int) -> bool:
    """Whether anything of the database has changed since. Patroni itself writes other files at the top."""
    folders = [folder for folder in data.iterdir() if folder.is_dir() and not folder.is_symlink()]
    paths = (path for folder in folders for path in (folder, *folder.rglob("*")))
    return any(path.lstat().st_mtime_ns > since_ns for path in (*data.glob("PG_VERSION"), *paths))


def main(arguments: list[str]) -> int:
    """Run pg_rewind; what it began and could not end is removed: Patroni fetches a new copy once somebody leads."""
    if "-D" not in arguments:
        return subprocess.call([PG_REWIND, *arguments])
    data = Path(arguments[arguments.index("-D") + 1])
    note = note_beside(data)
    with note.open("w") as file:
        file.write("a directory beside this note that is older than it was half rewound\n")
        file.flush()
        os.fsync(file.fileno())
    keep_wal(data)
    code = subprocess.call([PG_REWIND, *arguments])
    if code and has_been_touched(data, note.stat().st_mtime_ns):
        remove(data)  # the note stays until it is gone
    give_wal_back(data)
    note.unlink()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
