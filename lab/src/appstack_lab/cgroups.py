"""Makes and removes the control groups of a cluster, on version 1, hybrid and version 2 hosts."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.locks import locked

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster

CPUSET = ("cpuset.cpus", "cpuset.mems")
PATIENCE_SECONDS = 5.0
SHARES_OF_PROCESS = 1024


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
    with locked(paths.shared_lock("index")):  # the last of the others may take the group of all away meanwhile
        for hierarchy in hierarchies():
            for node in cluster.nodes:
                make_group(hierarchy, f"{cluster.cgroup}/{node.name}")
            weigh(hierarchy / cluster.cgroup, os.cpu_count() or 1)


def weigh(cluster_group: Path, processors: int) -> None:
    """Let each node weigh as much as its processors, and groups above as much as what is in them.

    A group counts like one process of the machine until told otherwise: on a busy machine all pods of all clusters
    together would get the time of a single process, and be killed by their own probes.
    """
    for node in sorted(each for each in cluster_group.iterdir() if each.is_dir()):
        set_shares(node, processors * SHARES_OF_PROCESS)
    for group in (cluster_group, cluster_group.parent):
        set_shares(group, sum(shares_of(each) for each in group.iterdir() if each.is_dir()))


def shares_of(group: Path) -> int:
    """How much a group weighs, in shares; 0 where this hierarchy does not weigh, or where the group has just gone."""
    with contextlib.suppress(OSError):
        if (group / "cpu.shares").exists():
            return int((group / "cpu.shares").read_text())
        if (group / "cpu.weight").exists():
            return int((group / "cpu.weight").read_text()) * SHARES_OF_PROCESS // 100
    return 0


def set_shares(group: Path, shares: int) -> None:
    """Version 1 counts in shares of 1024, version 2 in weights of 100."""
    if (group / "cpu.shares").exists():
        (group / "cpu.shares").write_text(str(max(2, shares)))
    elif (group / "cpu.weight").exists():
        (group / "cpu.weight").write_text(str(min(10000, max(1, shares * 100 // SHARES_OF_PROCESS))))


def processes_in(cluster: Cluster, node: str = "") -> set[int]:
    """Return the processes in any group of the cluster, or of one of its nodes."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for listing in (hierarchy / cluster.cgroup / node).glob("**/cgroup.procs"):
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
    with locked(paths.shared_lock("index")):
        for hierarchy in hierarchies():
            with contextlib.suppress(OSError):  # another cluster may be in it
                (hierarchy / Path(cluster.cgroup).parts[0]).rmdir()
    return left
