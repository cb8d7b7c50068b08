"""Creates a cluster, or finds that it is there already."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.binaries import bin_directory, build_binaries
from appstack_lab.builders import build_cluster_images
from appstack_lab.cgroups import create_cgroups
from appstack_lab.client import all_nodes_ready, apply_objects, dns_ready, is_ready, nodes_ready
from appstack_lab.cluster import Cluster, Node, checked_name
from appstack_lab.controlplane import ADD_ONS, admin_kubeconfig, build_processes, start_supervisor, write_config
from appstack_lab.failures import LabError, failure_with_log
from appstack_lab.load import load_images
from appstack_lab.locks import locked
from appstack_lab.manifests import build_account_binding
from appstack_lab.manifests.dns import build_dns
from appstack_lab.manifests.metrics import build_metrics
from appstack_lab.manifests.storage import build_storage
from appstack_lab.network import create_network
from appstack_lab.node import write_node
from appstack_lab.orders import ask
from appstack_lab.packages import CLUSTER_TOOLS, ensure_packages
from appstack_lab.pki import write_pki
from appstack_lab.progress import say, step
from appstack_lab.state import find_cluster, free_index, remember, require_cluster, write_json
from appstack_lab.sysctls import raise_limits
from appstack_lab.teardown import clear_away, remove_cluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from appstack_lab.manifests import Object

POLL_SECONDS = 0.2


def completion(cluster: Cluster) -> Path:
    """The file that a creation writes at its end: how long each log was then."""
    return cluster.directory / "complete.json"


def is_complete(cluster: Cluster) -> bool:
    """Tell whether a cluster's creation came to its end."""
    return completion(cluster).exists()


def is_supervised(cluster: Cluster) -> bool:
    """Tell whether a cluster is complete and somebody keeps it running."""
    return is_complete(cluster) and ask(cluster.socket, "status") is not None


def standstill(name: str) -> str:
    """Say that nobody keeps a cluster running, and the way out."""
    return f"cluster {name} does not run: lab create cluster --name {name} makes it anew"


def require_running(name: str) -> Cluster:
    """Return the cluster of that name; one that nobody keeps running is an error."""
    cluster = require_cluster(name)
    if ask(cluster.socket, "status") is None:
        raise LabError(standstill(name))
    return cluster


def create_cluster(name: str, nodes: tuple[Node, ...], volume_size: str | None, wait_seconds: float) -> Cluster:
    """Return a running cluster of that name: the one there is, or a new one. None: volumes of any size will do."""
    with locked(paths.lock_of(checked_name(name))):
        existing = find_cluster(name)
        if existing and is_supervised(existing):
            refuse_another_shape(existing, nodes, volume_size)
            wait_for_living(existing, wait_seconds)
            say(f"Cluster {name} is running already.")
            return existing
        start = time.monotonic()
        if existing:
            with step(f"clear away what is left of {name}"):
                remove_cluster(existing)
        ensure_packages(CLUSTER_TOOLS)
        build_binaries()
        images = build_cluster_images()
        with locked(paths.shared_lock("index")):
            cluster = Cluster(name, free_index(), nodes, volume_size or "")
            remember(cluster)
        clear_away(cluster)  # a state directory removed by hand leaves the rest behind
        start_cluster(cluster, images, wait_seconds)
        say(
            f"Cluster {name} of {len(nodes)} nodes runs ({time.monotonic() - start:.1f} s). This machine reaches "
            f"pods ({cluster.pod_range}) and services ({cluster.service_range}); names: dig @{cluster.dns_service}"
        )
        return cluster


def refuse_another_shape(cluster: Cluster, nodes: tuple[Node, ...], volume_size: str | None) -> None:
    """Say so when the running cluster is not the one asked for."""
    if cluster.nodes != nodes or volume_size not in (None, cluster.volume_size):
        raise LabError(
            f"cluster {cluster.name} exists with {len(cluster.nodes)} nodes and volume size "
            f"{cluster.volume_size or 'unlimited'}: delete it first, or use another name"
        )


def wait_for_living(cluster: Cluster, seconds: float) -> None:
    """Wait for the API server of a cluster that somebody keeps running: it may start again just now.

    However long that takes, the cluster stays: it holds data, and only its owner gives that up.
    """
    deadline = time.monotonic() + seconds
    while not is_ready(cluster):
        if time.monotonic() > deadline:
            raise LabError(
                f"cluster {cluster.name} is kept running, but its API server was not ready for {seconds:.0f} s. "
                f"See lab status --name {cluster.name}; "
                f"lab delete cluster --name {cluster.name} gives it up, with its data"
            )
        time.sleep(POLL_SECONDS)


def wait_until(what: str, is_true: Callable[[], bool], seconds: float, log: Path) -> None:
    """Wait for something; when it does not come, the log says why."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise failure_with_log(f"waiting {seconds:.0f} s for {what}", log)
        time.sleep(POLL_SECONDS)


def build_objects(cluster: Cluster, images: dict[str, str], authority: bytes) -> list[Object]:
    """List the objects that a new cluster starts with."""
    kubelet_api = build_account_binding(
        "lab:kube-apiserver-kubelet-client", "system:kubelet-api-admin", "kube-apiserver-kubelet-client"
    )
    return [
        kubelet_api,
        *build_dns(cluster, images["coredns"]),
        *build_storage(cluster, images["base"]),
        *build_metrics(cluster, authority),
    ]


def start_cluster(cluster: Cluster, images: dict[str, str], wait_seconds: float) -> None:
    """Make everything of a cluster, in order; what fails leaves its logs."""
    bin_ = bin_directory()
    with step(f"lay out {cluster.name}"):
        raise_limits()
        write_pki(cluster)
        for node in cluster.nodes:
            write_node(cluster, node, bin_, images["pause"])
        write_config(cluster)
        create_cgroups(cluster)
        create_network(cluster)
    with step("start the control plane"):
        start_supervisor(cluster, build_processes(cluster, bin_, images["base"]))
        api_log = cluster.logs / "kube-apiserver.log"
        wait_until("the API server", lambda: is_ready(cluster), wait_seconds, api_log)
    with step("load the cluster's images"):
        for node in cluster.nodes:
            log = cluster.logs / f"{node.name}-containerd.log"
            wait_until(f"containerd of {node.name}", cluster.containerd(node).exists, wait_seconds, log)
        load_images(cluster, list(images.values()))
    authority = (cluster.pki / "ca.crt").read_bytes()
    apply_objects(admin_kubeconfig(cluster), build_objects(cluster, images, authority))
    for name in ADD_ONS:
        ask(cluster.socket, "start", name)
    with step("wait for the nodes"):
        wait_until("the nodes", lambda: all_nodes_ready(cluster), wait_seconds, late_log(cluster))
    with step("wait for the name service"):
        log = cluster.logs / f"{cluster.nodes[0].name}-kubelet.log"
        wait_until("the name service", lambda: dns_ready(cluster), wait_seconds, log)
    # From here on an error in a log is news; starting up is full of them.
    write_json(completion(cluster), {log.name: log.stat().st_size for log in cluster.logs.glob("*.log")})


def late_log(cluster: Cluster) -> Path:
    """Return the kubelet's log of the first node that is not Ready yet."""
    ready = nodes_ready(cluster)
    late = next((node for node in cluster.nodes if not ready.get(node.name)), cluster.nodes[0])
    return cluster.logs / f"{late.name}-kubelet.log"
