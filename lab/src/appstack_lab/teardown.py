"""Ends a cluster and removes every trace of it, in whatever state it is."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.binaries import bin_directory
from appstack_lab.cgroups import end_processes, remove_cgroups
from appstack_lab.commands import succeeds
from appstack_lab.failures import LabError
from appstack_lab.locks import locked
from appstack_lab.network import remove_network, remove_place
from appstack_lab.nodeinit import NODE_DIRECTORIES
from appstack_lab.orders import ask
from appstack_lab.state import known_clusters
from appstack_lab.sysctls import restore_limits

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster

PATIENCE_SECONDS = 15.0
GRACE_SECONDS = 3.0  # for the supervisor to end its processes itself
# What the lab starts besides the programs of its own cache.
PROGRAMS = {"containerd", "containerd-shim-runc-v2", "nsenter", "setpriv", "unshare"}
MODULES = {"appstack_lab.supervisor", "appstack_lab.nodeinit"}


def processes_of(cluster: Cluster) -> dict[int, str]:
    """Find the processes of a cluster: our programs whose command names its directory."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if is_ours(arguments, f"{cluster.directory}/"):
                found[int(entry.name)] = " ".join(arguments)[:100]
    return found


def is_ours(arguments: list[str], directory: str) -> bool:
    """Tell from a command whether the lab started it for the cluster in that directory."""
    program = Path(arguments[0])
    started_by_us = (
        program.name in PROGRAMS or program.is_relative_to(bin_directory()) or not MODULES.isdisjoint(arguments)
    )
    return started_by_us and any(directory in argument for argument in arguments[1:])


def end_all(cluster: Cluster) -> None:
    """End the supervisor, then whoever a killed one left behind, and wait until all are gone."""
    with contextlib.suppress(LabError):  # a supervisor that hangs is killed with the others
        ask(cluster.socket, "quit")
    grace = time.monotonic() + GRACE_SECONDS
    while processes_of(cluster) and time.monotonic() < grace:
        time.sleep(0.05)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        left = processes_of(cluster)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end_processes(cluster)
        if not left:
            return
        if time.monotonic() > deadline:
            raise LabError(f"processes of {cluster.name} do not end: {left}")
        time.sleep(0.05)


def mounts_below(directory: Path) -> list[str]:
    """Return the mount points below a directory, innermost first."""
    lines = Path("/proc/mounts").read_text().splitlines()
    points = [line.split()[1].encode().decode("unicode_escape") for line in lines]
    return [point for point in reversed(points) if point.startswith(f"{directory}/")]


def clear_away(cluster: Cluster) -> None:
    """Remove everything of a cluster but its files: processes, mounts, network, control groups."""
    end_all(cluster)
    for point in mounts_below(cluster.directory):
        succeeds(["umount", "--lazy", point])
    remove_network(cluster)
    left = remove_cgroups(cluster)
    shutil.rmtree(cluster.socket.parent, ignore_errors=True)
    if left:
        raise LabError(f"control groups of {cluster.name} are still in use: {', '.join(map(str, left))}")


def remove_tree(directory: Path) -> None:
    """Remove a directory, also while something that ends just now still removes, or leaves, files of its own in it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:  # somebody else removed something first: look again
            if not directory.exists():
                return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def remove_cluster(cluster: Cluster) -> None:
    """Remove a cluster with its files, and what only the last cluster still needed."""
    clear_away(cluster)
    remove_tree(cluster.directory)
    with locked(paths.shared_lock("index")):  # a cluster that is begun meanwhile writes down its state under this lock
        if not known_clusters(of_any_version=True):
            remove_common()


def remove_common() -> None:
    """Remove what clusters share; for when none is left."""
    restore_limits()
    remove_place()
    for directory in (paths.RUN, paths.STATE):
        shutil.rmtree(directory, ignore_errors=True)
    for target in NODE_DIRECTORIES.values():
        with contextlib.suppress(OSError):  # in use by somebody else
            Path(target).rmdir()
