"""File locks: two that make one thing wait for each other. Standard library only: lab/bootstrap.py uses it too."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from appstack_lab.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on path; the kernel releases it however we end.

    Who holds it may remove the file. Whoever waited for that file then holds a lock that nobody else sees,
    and so begins again with the file there is now.
    """
    while True:
        with opened(path) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"  another command is at work, waiting for it ({path})")
                fcntl.flock(handle, fcntl.LOCK_EX)
            if is_still_there(handle, path):
                yield
                return


def discard(path: Path) -> None:
    """Remove a lock's file unless somebody holds the lock."""
    with suppress(FileNotFoundError), path.open("r+") as handle, suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_still_there(handle, path):
            path.unlink()


def is_still_there(handle: IO[str], path: Path) -> bool:
    """Tell whether the path still leads to the file that was opened."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    return False


def opened(path: Path) -> IO[str]:
    """Open a lock's file, made where it is missing, also while somebody removes its directory."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return path.open("w")
