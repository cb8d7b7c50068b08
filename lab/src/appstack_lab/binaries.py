"""Builds the programs of the cluster from Go modules into the cache, once per content of their inputs."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.commands import run_logged
from appstack_lab.failures import LabError
from appstack_lab.golang import ask_version, build_environment, find_go, locked_version
from appstack_lab.gomodules import GROUPS, Group, build_flags
from appstack_lab.locks import locked
from appstack_lab.packages import ensure_certificates
from appstack_lab.progress import say, step

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HASH_DIGITS = 12
UNNAMED_GO = "1.26.6"  # the lock's Go when it became part of the keys: what was built before keeps its name


def groups_of(names: Iterable[str]) -> list[Group]:
    """Return the groups that hold the named programs or groups; without names the default ones."""
    wanted = list(names)
    if not wanted:
        return [group for group in GROUPS if group.default]
    chosen: list[Group] = []
    for name in wanted:
        group = next((group for group in GROUPS if name == group.name or name in group.programs), None)
        if group is None:
            known = ", ".join(program for each in GROUPS for program in each.programs)
            raise LabError(f"there is no program {name}; there are {known}")
        if group not in chosen:
            chosen.append(group)
    return chosen


def key_of(group: Group) -> str:
    """Hash what a group is built from: its module's files, the flags and the lock's Go.

    A machine's own Go does not count: programs of one tree have one name everywhere.
    """
    digest = hashlib.sha256(repr((group.programs, build_flags(group))).encode())
    for path in sorted((paths.GO_MODULES / group.name).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    if locked_version() != UNNAMED_GO:
        digest.update(locked_version().encode())
    return digest.hexdigest()[:HASH_DIGITS]


def directory_of(group: Group) -> Path:
    """Return where a group's programs lie once they are built."""
    return paths.cache() / "binaries" / f"{group.name}-{key_of(group)}"


def build_group(group: Group, go: str) -> None:
    """Build one group; an interrupted build leaves nothing that looks complete."""
    target = directory_of(group)
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    log = paths.logs() / f"build-{group.name}.log"
    log.unlink(missing_ok=True)
    packages = list(group.programs.values())
    # One package alone must name its file: the directory may be called otherwise ("v3").
    output = partial / next(iter(group.programs)) if len(packages) == 1 else partial
    out = str(output) if len(packages) == 1 else f"{output}{os.sep}"
    command = [go, "build", *build_flags(group), "-o", out, *packages]
    with step(f"build {group.name} {group.version}".rstrip()):
        module = paths.GO_MODULES / group.name
        run_logged(f"building {group.name}", command, log, cwd=module, env=build_environment())
    partial.rename(target)


def build_binaries(names: Iterable[str] = ()) -> None:
    """Build what is missing of the named programs (default: all the cluster and its users need)."""
    groups = groups_of(names)
    if all(directory_of(group).is_dir() for group in groups):
        link_programs()
        return
    with locked(paths.cache() / "binaries.lock"):
        ensure_certificates()
        go = find_go()
        say(f"Programs into {paths.cache() / 'binaries'} ({ask_version(go).removeprefix('go version ')})")
        for group in groups:
            if not directory_of(group).is_dir():
                build_group(group, go)
        link_programs()


def bin_directory() -> Path:
    """Return the directory of this source tree's programs, for PATH."""
    digest = hashlib.sha256("".join(key_of(group) for group in GROUPS).encode())
    return paths.cache() / f"bin-{digest.hexdigest()[:HASH_DIGITS]}"


def link_programs() -> None:
    """Gather the programs built so far in one directory, and note that all of them are used now."""
    directory = bin_directory()
    directory.mkdir(parents=True, exist_ok=True)
    for group in GROUPS:
        for program in group.programs:
            source, link = directory_of(group) / program, directory / program
            if source.exists() and not link.exists():
                partial = link.with_name(f".{program}.{os.getpid()}")
                partial.symlink_to(source)
                partial.replace(link)
    for used in (directory, *map(directory_of, GROUPS)):
        with suppress(FileNotFoundError):  # not built
            os.utime(used)


def program(name: str) -> Path:
    """Return the path of a built program."""
    path = bin_directory() / name
    if not path.exists():
        raise LabError(f"{name} is not built yet: run lab build binaries {name}")
    return path
