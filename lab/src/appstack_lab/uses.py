"""Remembers who works with the shared cache: trees and clusters, what each leads to, when a thing was last used."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.images import file_name
from appstack_lab.state import known_clusters, write_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# A test run may still stand on an image whose sources have changed since.
FRESH_SECONDS = 3 * 3600.0


def trees_directory() -> Path:
    return paths.cache() / "trees"


def remember_tree(names: Collection[str]) -> None:
    """Write down what this source tree leads to: names of images, and of directories of programs."""
    file = trees_directory() / f"{hashlib.sha256(str(paths.SOURCES).encode()).hexdigest()[:12]}.json"
    write_json(file, {"sources": str(paths.SOURCES), "names": sorted(names)})


def needed_by_trees() -> set[str]:
    """Return what every tree that still exists leads to; the notes of the others are removed."""
    needed: set[str] = set()
    for file in trees_directory().glob("*.json"):
        note = json.loads(file.read_text())
        if Path(note["sources"]).is_dir():
            needed |= set(note["names"])
        else:
            file.unlink(missing_ok=True)
    return needed


def needed_by_clusters() -> set[str]:
    """Return the directories of programs that clusters of this machine run, or would start again, by name."""
    needed: set[str] = set()
    for cluster in known_clusters():
        with suppress(FileNotFoundError, PermissionError):  # nothing is laid out yet, or it is another user's
            commands = cluster.spec.read_text()
            for directory in paths.cache().glob("bin-*"):
                if f"{directory}/" in commands:
                    needed |= {directory.name} | {link.resolve().parent.name for link in directory.iterdir()}
    return needed


def places_of(ref: str) -> tuple[Path, Path]:
    """Return where an image lies: its description, and its root filesystem where one was made."""
    return paths.cache() / "images" / file_name(ref), paths.cache() / "rootfs" / file_name(ref)


def touch(refs: Iterable[str]) -> None:
    """Note that these images are used now."""
    for ref in refs:
        for place in places_of(ref):
            with suppress(FileNotFoundError):
                os.utime(place)


def is_fresh(*places: Path) -> bool:
    """Tell whether one of these was used, or made, a short while ago."""
    with suppress(FileNotFoundError):
        return any(time.time() - place.stat().st_mtime < FRESH_SECONDS for place in places if place.exists())
    return False
