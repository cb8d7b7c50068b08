"""Makes and removes the control groups of a cluster, on version 1, hybrid and version 2 hosts."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster

CPUSET = ("cpuset.cpus", "cpuset.mems")
PATIENCE_SECONDS = 5.0


def build_hierarchies(mounts: str) -> list[Path]:
    """Find the hierarchies in the text of /proc/mounts, of both versions."""
    entries = [line.split() for line in mounts.splitlines()]
    return sorted({Path(entry[1]) for entry in entries if entry[2] in ("cgroup", "cgroup2")})


def hierarchies() -> list[Path]:
    return build_hierarchies(Path("/proc/mounts").read_text())


def make_group(hierarchy: Path, name: str) -> None:
    """Make a group and its parents, each able to hold processes with all controllers."""
    parent = hierarchy
    for part in name.split("/"):
        enable_controllers(parent)
        group = parent / part
        group.mkdir(exist_ok=True)
        if not (hierarchy / "cgroup.controllers").exists():
            fill_cpuset(group, parent)
        parent = group
    enable_controllers(parent)


def fill_cpuset(group: Path, parent: Path) -> None:
    """Version 1: a new group has no processor and no memory until told, and nobody may enter."""
    for setting in CPUSET:
        if (group / setting).exists() and not (group / setting).read_text().strip():
            (group / setting).write_text((parent / setting).read_text())


def enable_controllers(group: Path) -> None:
    """Version 2: hand every controller down, as far as the host allows."""
    controllers = group / "cgroup.controllers"
    if controllers.exists():
        for controller in controllers.read_text().split():
            with contextlib.suppress(OSError):
                (group / "cgroup.subtree_control").write_text(f"+{controller}")


def create_cgroups(cluster: Cluster) -> None:
    """Make the groups that the kubelets of a cluster start from."""
    for hierarchy in hierarchies():
        for node in cluster.nodes:
            make_group(hierarchy, f"{cluster.cgroup}/{node.name}")


def processes_in(cluster: Cluster) -> set[int]:
    """Return the processes in any group of the cluster."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for listing in (hierarchy / cluster.cgroup).glob("**/cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in listing.read_text().split() if pid != "0")
    return found


def end_processes(cluster: Cluster) -> None:
    """End what still runs in the cluster's groups."""
    for pid in processes_in(cluster) - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove_tree(root: Path) -> bool:
    """Remove a group and all below it; False while a process keeps one alive."""
    if not root.is_dir():
        return True
    for path, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
    return not root.exists()


def remove_cgroups(cluster: Cluster) -> list[Path]:
    """Remove every group of a cluster; return those that stayed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    left = [hierarchy / cluster.cgroup for hierarchy in hierarchies()]
    while True:
        left = [root for root in left if not remove_tree(root)]
        if not left or time.monotonic() > deadline:
            break
        end_processes(cluster)
        time.sleep(0.1)
    for hierarchy in hierarchies():
        with contextlib.suppress(OSError):  # another cluster may be in it
            (hierarchy / Path(cluster.cgroup).parts[0]).rmdir()
    return left
