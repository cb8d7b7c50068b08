"""What a cluster is: its name, its nodes, and the addresses and directories that follow. Pure.

Every cluster has an index of its own; all its addresses follow from it, so clusters never clash:
index 0 has the nodes 172.30.0.0/24, the pods 10.64.0.0/16 and the services 10.65.0.0/16.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from appstack_lab import paths
from appstack_lab.failures import LabError

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_NAME = "appstack"
NAME_VARIABLE = "APPSTACK_CLUSTER"  # the cluster a shell works with: `make env` sets it
MAX_CLUSTERS = 32
MAX_NODES = 20
SIZE_PATTERN = re.compile(r"[1-9][0-9]{0,8}(Mi|Gi|Ti)")
NAME_PATTERN = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Node:
    """One node: number 1 is `node1` at .11 of the cluster's network."""

    name: str
    number: int
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as it was asked for; everything else is derived."""

    name: str
    index: int
    nodes: tuple[Node, ...]
    volume_size: str = ""  # limit of each node's volumes; empty: the machine's disk

    @property
    def gateway(self) -> str:
        """The machine's address in the cluster's network; the API server listens here."""
        return f"172.30.{self.index}.1"

    @property
    def loopback(self) -> str:
        """A loopback address of this cluster's own, for what only the machine may reach."""
        return f"127.30.{self.index}.1"

    @property
    def pod_range(self) -> str:
        return f"10.{64 + 2 * self.index}.0.0/16"

    @property
    def service_range(self) -> str:
        return f"10.{65 + 2 * self.index}.0.0/16"

    @property
    def api_service(self) -> str:
        return f"10.{65 + 2 * self.index}.0.1"

    @property
    def dns_service(self) -> str:
        return f"10.{65 + 2 * self.index}.0.10"

    @property
    def api(self) -> str:
        return f"{self.gateway}:6443"

    @property
    def etcd(self) -> str:
        return f"http://{self.loopback}:2379"

    @property
    def link(self) -> str:
        """The machine's only network link of this cluster."""
        return f"lab{self.index}"

    @property
    def switch(self) -> str:
        """The network namespace that holds the bridge between the nodes."""
        return f"lab-{self.name}-switch"

    @property
    def cgroup(self) -> str:
        return f"appstack-lab/{self.name}"

    @property
    def directory(self) -> Path:
        return paths.STATE / self.name

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def config(self) -> Path:
        return self.directory / "config"

    @property
    def spec(self) -> Path:
        """What the supervisor of the control plane keeps running."""
        return self.config / "supervisor.json"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def socket(self) -> Path:
        """Where the supervisor of the control plane listens."""
        return paths.RUN / self.name / "supervisor.sock"

    def address(self, node: Node) -> str:
        return f"172.30.{self.index}.{10 + node.number}"

    def pods_of(self, node: Node) -> str:
        return f"10.{64 + 2 * self.index}.{node.number}.0/24"

    def namespace(self, node: Node) -> str:
        return f"lab-{self.name}-{node.name}"

    def home(self, node: Node) -> Path:
        """The node's own directory: what would be its disk."""
        return self.directory / "nodes" / node.name

    def node_socket(self, node: Node) -> Path:
        """Where the supervisor inside the node listens."""
        return self.home(node) / "supervisor.sock"

    def containerd(self, node: Node) -> Path:
        return self.home(node) / "containerd.sock"

    def node(self, name: str) -> Node:
        """Find a node by its name."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise LabError(f"cluster {self.name} has no node {name!r}; it has {names}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Cluster:
        """Read what was written down, but what only another version of the lab knows: see `unknown_in`."""
        nodes = tuple(Node(**known(Node, node)) for node in data["nodes"])
        return Cluster(**{**known(Cluster, data), "nodes": nodes})


def known(kind: type[Cluster | Node], data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that this version has."""
    return {each.name: data[each.name] for each in fields(kind) if each.name in data}


def unknown_in(data: dict[str, Any]) -> list[str]:
    """Return the fields of a cluster, and of its nodes, that this version does not have."""
    more = data.keys() - known(Cluster, data).keys()
    of_nodes = {f"nodes.{each}" for node in data["nodes"] for each in node.keys() - known(Node, node).keys()}
    return sorted(more | of_nodes)


def checked_name(name: str) -> str:
    """Return the name if it can be one."""
    if not NAME_PATTERN.fullmatch(name):
        raise LabError(f"{name!r} cannot name a cluster: use up to 30 of a-z, 0-9 and -, not - at the ends")
    return name


def checked_size(size: str) -> str:
    """Return the size of a node's volumes if it can be one."""
    if not SIZE_PATTERN.fullmatch(size):
        raise LabError(f"{size!r} cannot be the size of volumes: use a whole number with Mi, Gi or Ti, such as 2Gi")
    return size


def build_nodes(count: int) -> tuple[Node, ...]:
    """Name `count` nodes: node1, node2, …"""
    if not 1 <= count <= MAX_NODES:
        raise LabError(f"a cluster has 1 to {MAX_NODES} nodes, not {count}")
    return tuple(Node(f"node{number}", number) for number in range(1, count + 1))


def nodes_of_kind_config(config: object) -> tuple[Node, ...]:
    """Read the nodes of a kind `Cluster` document; every role becomes a node that takes pods."""
    if not isinstance(config, dict):
        raise LabError("the configuration must be a document of kind Cluster, with fields")
    if config.get("kind") != "Cluster":
        raise LabError(f"the configuration's kind must be Cluster, not {config.get('kind')!r}")
    entries = config.get("nodes") or [{"role": "control-plane"}]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise LabError("the configuration's nodes must be a list of entries such as {role: worker}")
    labels = [entry.get("labels") or {} for entry in entries]
    if not all(isinstance(each, dict) for each in labels):
        raise LabError("the labels of a node in the configuration must be names with values")
    nodes = build_nodes(len(entries))
    return tuple(Node(node.name, node.number, dict(its)) for node, its in zip(nodes, labels, strict=True))
