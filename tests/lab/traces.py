"""What a cluster of the lab could leave on this machine, and what of it is there now and was not before."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab import paths, sysctls
from appstack_lab.cgroups import hierarchies
from appstack_lab.state import known_clusters
from tests.backend.kit import service

from .conftest import commands_with, run

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster

SETTINGS = [sysctls.SETTINGS / name for name in (*sysctls.MINIMUM, *sysctls.KUBELET)]
PLACES = ("/run/appstack-lab", "/run/containerd/s", "/var/lib/appstack-lab", "/var/lib/cni", "/var/lib/kubelet")


AWAY_SECONDS = 60.0  # a limit for hangs


@dataclass(frozen=True)
class Traces:
    """The traces of one cluster; what the others on this machine have, or make meanwhile, is theirs."""

    cluster: str
    marker: str | None = None  # in the command of every container of the test

    def processes(self) -> set[str]:
        """Commands that work for a cluster of this name, or are a container of the test."""
        found = commands_with(f"/{self.cluster}/")
        return set(found.values()) | set(commands_with(self.marker).values() if self.marker else ())

    def seen(self) -> dict[str, set[str]]:
        """What is there now, by its kind."""
        groups = {str(path) for root in hierarchies() for path in root.glob("appstack-lab/*")}
        roots = {str(path) for root in hierarchies() for path in root.glob("appstack-lab")}
        return {
            "processes": self.processes(),
            "mounts": set(Path("/proc/mounts").read_text().splitlines()),
            "namespaces": {path.name for path in Path("/run/netns").glob("*")},
            "links": {path.name for path in Path("/sys/class/net").iterdir()},
            "routes": set(run("ip", "-4", "route").stdout.splitlines()),
            "tables": set(run("nft", "list", "tables").stdout.splitlines()),
            "control groups": groups | roots,
            "loop devices": set(run("losetup", "--list", "--noheadings", "--output", "BACK-FILE").stdout.splitlines()),
            "settings": {str(path) + "=" + path.read_text().strip() for path in SETTINGS},
            "locks": {str(path) for path in paths.LOCKS.glob(f"{self.cluster}.*")},
            "files": {str(path) for place in PLACES for path in [Path(place), *Path(place).glob("*")] if path.exists()},
        }

    def left_since(self, before: dict[str, set[str]]) -> list[str]:
        """What is there now and was not before, other clusters aside."""
        after = self.seen()
        return [one for kind in after for one in after[kind] - before[kind] if not self.belongs_to_others(one)]

    def stay_since(self, before: dict[str, set[str]]) -> list[str]:
        """What is left and does not go: the kernel takes links and control groups away in its own time."""
        give_up_at = time.monotonic() + AWAY_SECONDS
        while (left := self.left_since(before)) and time.monotonic() < give_up_at:
            time.sleep(0.5)
        return left

    def belongs_to_others(self, trace: str) -> bool:
        """Tell whether another cluster, whose life goes on meanwhile, or a test of the backend made a trace."""
        if trace.startswith(f"table ip {service.TABLE}"):
            return True
        others = [cluster for cluster in known_clusters() if cluster.name not in (self.cluster, "lab-test")]
        shared = ("/appstack-lab", "/sysctls.json", "/var/lib/cni", "/var/lib/kubelet")
        return any(mark in trace for cluster in others for mark in marks_of(cluster)) or (
            bool(known_clusters()) and trace.endswith(shared)
        )


def marks_of(cluster: Cluster) -> tuple[str, ...]:
    network, pods, services = (
        text.rsplit(".", 2)[0] + "." for text in (f"{cluster.gateway}.0", cluster.pod_range, cluster.service_range)
    )
    return (f"lab-{cluster.name}-", f"appstack-lab/{cluster.name}", cluster.link, network, pods, services)
