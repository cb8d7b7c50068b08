"""Remembers clusters on disk: which exist, which index each one has, what was asked for."""

from __future__ import annotations

import ipaddress
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from appstack_lab import paths
from appstack_lab.cluster import MAX_CLUSTERS, Cluster, unknown_in
from appstack_lab.commands import output_of
from appstack_lab.failures import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STATE_FILE = "cluster.json"


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # another lab may write the same file just now
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def known_clusters(*, of_any_version: bool = False) -> list[Cluster]:
    """Return every cluster with a state, also half-created ones, by name.

    Those that another version of the lab has described further are an error, but for who removes a cluster.
    """
    clusters = []
    with suppress(FileNotFoundError):  # no cluster, or the last one goes just now
        for directory in sorted(paths.STATE.iterdir()):
            with suppress(FileNotFoundError, NotADirectoryError):  # no cluster's, or one that goes just now
                clusters.append(read_cluster(directory, of_any_version=of_any_version))
    return clusters


def read_cluster(directory: Path, *, of_any_version: bool = False) -> Cluster:
    """Read what was asked for. Raises LabError where the file holds none, as after a sudden loss of power."""
    file = directory / STATE_FILE
    try:
        data = json.loads(file.read_text())
        cluster, unknown = Cluster.from_dict(data), unknown_in(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LabError(
            f"{file} holds no cluster: remove {directory}, with all that is left of it, and repeat"
        ) from None
    if unknown and not of_any_version:
        raise LabError(
            f"another version of the lab wrote {file}: this one does not know {', '.join(unknown)}. Use that version, "
            f"or remove the cluster, which any can: lab delete cluster --name {cluster.name}"
        )
    return cluster


def find_cluster(name: str, *, of_any_version: bool = False) -> Cluster | None:
    """Return the cluster of that name, or None."""
    clusters = known_clusters(of_any_version=of_any_version)
    return next((cluster for cluster in clusters if cluster.name == name), None)


def require_cluster(name: str) -> Cluster:
    """Return the cluster of that name; its absence is an error."""
    cluster = find_cluster(name)
    if cluster is None:
        raise LabError(f"{absence(name)} (--name chooses one; lab create cluster --name {name} makes it)")
    return cluster


def absence(name: str) -> str:
    """Say that no cluster has that name, and which there are."""
    names = ", ".join(cluster.name for cluster in known_clusters(of_any_version=True))
    return f"there is no cluster {name}; there are: {names or 'none'}"


def remember(cluster: Cluster) -> None:
    """Write down what was asked for, before anything is made of it."""
    write_json(cluster.directory / STATE_FILE, cluster.to_dict())


def overlaps(cluster: Cluster, routes: Sequence[ipaddress.IPv4Network]) -> bool:
    """Tell whether something on this machine already uses one of the cluster's ranges."""
    texts = (f"{cluster.gateway}/24", cluster.pod_range, cluster.service_range)
    ranges = [ipaddress.IPv4Network(text, strict=False) for text in texts]
    return any(mine.overlaps(route) for mine in ranges for route in routes)


def routes_of_machine() -> list[ipaddress.IPv4Network]:
    """Return the destinations of this machine's routes, without the default route."""
    routes = json.loads(output_of(["ip", "-json", "-4", "route"]) or "[]")
    return [ipaddress.IPv4Network(route["dst"]) for route in routes if route.get("dst") != "default"]


def free_index() -> int:
    """Return the lowest index whose addresses nobody uses."""
    taken = {cluster.index for cluster in known_clusters()}
    routes = routes_of_machine()
    for index in range(MAX_CLUSTERS):
        if index not in taken and not overlaps(Cluster("candidate", index, ()), routes):
            return index
    raise LabError(f"no address range is left for another cluster; {len(taken)} exist: lab get clusters")
