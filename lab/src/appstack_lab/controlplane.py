"""Writes what the control plane needs, lists its processes, and starts the supervisor that keeps them."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from appstack_lab.commands import SYSTEM_PATH
from appstack_lab.config import controlplane as build
from appstack_lab.config.kubeconfig import build_kubeconfig, context_name
from appstack_lab.failures import failure_with_log
from appstack_lab.manifests.storage import build_paths
from appstack_lab.node import DIE_WITH_PARENT, build_node_command
from appstack_lab.orders import ask
from appstack_lab.state import write_json
from appstack_lab.supervisor import Process, build_spec

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from appstack_lab.cluster import Cluster

CLIENTS = ("controller-manager", "scheduler", "kube-proxy", "local-path-provisioner", "metrics-server")
START_SECONDS = 10.0
# They end when their objects are missing, so they start once those are there.
ADD_ONS = ("local-path-provisioner", "metrics-server")


def admin_kubeconfig(cluster: Cluster) -> Path:
    return cluster.config / "admin.kubeconfig"


def kubeconfig_of(cluster: Cluster, name: str, subject: str) -> dict[str, Any]:
    """Build the kubeconfig of one client from its certificate."""
    pki = cluster.pki
    certificate, key = (pki / f"{subject}.crt").read_bytes(), (pki / f"{subject}.key").read_bytes()
    return build_kubeconfig(name, f"https://{cluster.api}", (pki / "ca.crt").read_bytes(), certificate, key)


def write_config(cluster: Cluster) -> None:
    """Write every configuration file that belongs to no node, and the nodes' kubeconfigs."""
    for directory in (cluster.config, cluster.logs, cluster.directory / "plugins"):
        directory.mkdir(parents=True, exist_ok=True)
    cluster.config.chmod(0o700)  # keys: who holds the administrator's is root on this machine
    write_json(admin_kubeconfig(cluster), kubeconfig_of(cluster, context_name(cluster.name), "admin"))
    for client in CLIENTS:
        write_json(cluster.config / f"{client}.kubeconfig", kubeconfig_of(cluster, client, client))
    for node in cluster.nodes:
        path = cluster.home(node) / "kubeconfig"
        write_json(path, kubeconfig_of(cluster, node.name, node.name))
        path.chmod(0o600)
    write_json(cluster.config / "audit-policy.json", build.build_audit_policy())
    write_json(cluster.config / "local-path.json", build_paths(cluster))
    # No name server outside: what is not the cluster's is not found, at once.
    (cluster.config / "resolv.conf").write_text("nameserver 127.0.0.1\n")


def build_processes(cluster: Cluster, bin_: Path, helper_image: str) -> list[Process]:
    """List what the cluster's supervisor keeps running: the control plane, the add-ons, the nodes."""
    commands = {
        "etcd": build.build_etcd(bin_, cluster),
        "kube-apiserver": build.build_api_server(bin_, cluster),
        "kube-controller-manager": build.build_controller_manager(bin_, cluster),
        "kube-scheduler": build.build_scheduler(bin_, cluster),
        "local-path-provisioner": build.build_local_path_provisioner(bin_, cluster, helper_image),
        "metrics-server": build.build_metrics_server(bin_, cluster),
    }
    etcd = cluster.etcd.removeprefix("http://")
    needs = {"etcd": (), "kube-apiserver": (etcd,)}
    processes = [
        Process(
            name,
            DIE_WITH_PARENT + command,
            log=f"{cluster.logs}/{name}.log",
            needs=needs.get(name, (cluster.api,)),
            starts=name not in ADD_ONS,
        )
        for name, command in commands.items()
    ]
    for node in cluster.nodes:
        command = build_node_command(cluster, node)
        processes.append(Process(node.name, command, f"{cluster.logs}/{node.name}.log", wraps=True))
    return processes


def start_supervisor(cluster: Cluster, processes: list[Process]) -> None:
    """Start the supervisor apart from us: it keeps none of our files, terminals or variables."""
    write_json(cluster.spec, build_spec(cluster.socket, processes))
    log = cluster.logs / "supervisor.log"
    with log.open("ab") as sink:
        started = subprocess.Popen(
            [sys.executable, "-m", "appstack_lab.supervisor", str(cluster.spec)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd="/",
            start_new_session=True,
            env={"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
        )
    deadline = time.monotonic() + START_SECONDS
    while ask(cluster.socket, "status") is None:
        if started.poll() is not None or time.monotonic() > deadline:
            raise failure_with_log("starting the supervisor", log)
        time.sleep(0.05)
