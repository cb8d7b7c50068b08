"""Writes what a node needs and builds the command that runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab.commands import output_of
from appstack_lab.config.containerd import build_cni_config, build_containerd_config
from appstack_lab.config.kubelet import build_kubelet_command, build_kubelet_config
from appstack_lab.config.kubeproxy import build_kube_proxy_config
from appstack_lab.network import NAMESPACES
from appstack_lab.nodeinit import NODE_DIRECTORIES
from appstack_lab.state import write_json
from appstack_lab.supervisor import Process, build_spec

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster, Node

# The kubelet is stopped hard when its parent is: nothing of a cluster outlives its supervisor.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]
DIRECTORIES = ("cni", "containerd", "kubelet", "plugins", "volumes", "addresses", *NODE_DIRECTORIES)


def build_node_processes(cluster: Cluster, node: Node, bin_: Path) -> list[Process]:
    """List what runs in a node."""
    home, logs = cluster.home(node), cluster.logs
    commands = {
        "containerd": ["containerd", "--config", f"{home}/containerd.toml"],
        "kubelet": build_kubelet_command(bin_ / "kubelet", cluster, node),
        "kube-proxy": [f"{bin_}/kube-proxy", f"--config={home}/kube-proxy.json"],
    }
    runtime = str(cluster.containerd(node))
    needs = {"kubelet": (cluster.api, runtime), "kube-proxy": (cluster.api,)}
    return [
        Process(name, DIE_WITH_PARENT + command, f"{logs}/{node.name}-{name}.log", needs.get(name, ()))
        for name, command in commands.items()
    ]


def build_node_command(cluster: Cluster, node: Node) -> list[str]:
    """Build the command of a node's first process, in namespaces of its own.

    Not `ip netns exec`: it remounts /sys and would hide the control groups from the kubelet.
    """
    return [
        *DIE_WITH_PARENT,
        "nsenter",
        f"--net={NAMESPACES / cluster.namespace(node)}",
        "unshare",
        "--mount",
        "--uts",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--propagation=slave",
        sys.executable,
        "-m",
        "appstack_lab.nodeinit",
        f"{cluster.home(node)}/node.json",
    ]


def make_disk(path: Path, size: str) -> None:
    """Make the image of a small disk: only its use takes room."""
    with path.open("wb"):
        pass
    output_of(["truncate", f"--size={size.removesuffix('B').removesuffix('i')}", str(path)])
    output_of(["mkfs.ext4", "-q", "-F", "-m", "0", str(path)])


def write_node(cluster: Cluster, node: Node, bin_: Path, pause: str) -> None:
    """Write the files of a node."""
    home = cluster.home(node)
    for name in DIRECTORIES:
        (home / name).mkdir(parents=True, exist_ok=True)
    for target in NODE_DIRECTORIES.values():  # mount points; the node lays its own over them
        Path(target).mkdir(exist_ok=True)
    write_json(home / "kubelet.json", build_kubelet_config(cluster, node))
    write_json(home / "kube-proxy.json", build_kube_proxy_config(cluster, node))
    write_json(home / "cni" / "10-lab.conflist", build_cni_config(cluster, node))
    (home / "containerd.toml").write_text(build_containerd_config(cluster, node, pause))
    disk = home / "volumes.img"
    if cluster.volume_size:
        make_disk(disk, cluster.volume_size)
    spec = build_spec(cluster.node_socket(node), build_node_processes(cluster, node, bin_))
    spec |= {"name": node.name, "home": str(home), "volumes": str(disk) if cluster.volume_size else ""}
    write_json(home / "node.json", json.loads(json.dumps(spec)))
