"""The cables of a cluster: a namespace with a bridge, one namespace per node, one link to the machine.

Nothing leads out: nodes and pods reach each other, the services and the machine, and no one else. The
bridge lies in a namespace of its own, where the machine's firewall rules do not reach.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.commands import output_of, succeeds
from appstack_lab.failures import LabError
from appstack_lab.locks import locked

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster, Node

NAMESPACES = Path("/run/netns")
BRIDGE = "bridge"


def made_place() -> Path:
    """Is there, where the directory of the namespaces is none that this machine had before its first cluster."""
    return paths.STATE / "namespaces-are-ours"


def prepare_place() -> None:
    """Remember whether `ip netns add` will make the directory of the namespaces, which it makes a mount of its own."""
    with locked(paths.shared_lock("index")):
        if not NAMESPACES.is_mount():
            made_place().touch()


def remove_place() -> None:
    """Take that directory away again, unless somebody else keeps a namespace there; for when no cluster is left."""
    if made_place().exists() and NAMESPACES.is_dir() and not any(NAMESPACES.iterdir()):
        succeeds(["umount", str(NAMESPACES)])
        with contextlib.suppress(OSError):  # somebody else has just made one
            NAMESPACES.rmdir()


def ip(*arguments: str, namespace: str = "") -> None:
    """Run ip, in a namespace if one is named."""
    output_of(["ip", *(["-n", namespace] if namespace else []), *arguments])


def set_sysctl(namespace: str, key: str, value: str) -> None:
    """Set a network setting of one namespace."""
    setting = f"/proc/sys/net/{key}"
    output_of(["nsenter", f"--net={NAMESPACES / namespace}", "tee", setting], stdin=value)


def create_switch(cluster: Cluster) -> None:
    """Make the bridge and plug the machine into it."""
    ip("netns", "add", cluster.switch)
    ip("link", "add", BRIDGE, "type", "bridge", namespace=cluster.switch)
    ip("link", "set", BRIDGE, "up", namespace=cluster.switch)
    with contextlib.suppress(LabError):  # no such setting: then no filter sees bridged frames anyway
        set_sysctl(cluster.switch, "bridge/bridge-nf-call-iptables", "0")
    ip("link", "add", cluster.link, "type", "veth", "peer", "name", "machine", "netns", cluster.switch)
    ip("link", "set", "machine", "master", BRIDGE, "up", namespace=cluster.switch)
    ip("address", "add", f"{cluster.gateway}/24", "dev", cluster.link)
    ip("link", "set", cluster.link, "up")


def create_node_network(cluster: Cluster, node: Node) -> None:
    """Make a node's namespace, plug it into the bridge, and tell everybody the way to its pods."""
    namespace, address = cluster.namespace(node), cluster.address(node)
    ip("netns", "add", namespace)
    ip("link", "add", node.name, "netns", cluster.switch, "type", "veth",
       "peer", "name", "eth0", "netns", namespace)  # fmt: skip
    ip("link", "set", node.name, "master", BRIDGE, "up", namespace=cluster.switch)
    ip("link", "set", "lo", "up", namespace=namespace)
    ip("address", "add", f"{address}/24", "dev", "eth0", namespace=namespace)
    ip("link", "set", "eth0", "up", namespace=namespace)
    set_sysctl(namespace, "ipv4/ip_forward", "1")
    # A service's address needs some route before kube-proxy can rewrite it; it never goes there.
    ip("route", "add", cluster.service_range, "via", cluster.gateway, "src", address, namespace=namespace)
    for other in cluster.nodes:
        if other != node:
            ip("route", "add", cluster.pods_of(other), "via", cluster.address(other), namespace=namespace)
    ip("route", "replace", cluster.pods_of(node), "via", address, "dev", cluster.link)


def renew_node_network(cluster: Cluster, node: Node) -> None:
    """Give a node that is down a fresh network namespace in place of its old one."""
    succeeds(["ip", "-n", cluster.switch, "link", "delete", node.name])  # now: a namespace goes later
    succeeds(["ip", "netns", "delete", cluster.namespace(node)])
    create_node_network(cluster, node)


def route_services(cluster: Cluster, node: Node) -> None:
    """Let the machine reach services through one node."""
    ip("route", "replace", cluster.service_range, "via", cluster.address(node), "dev", cluster.link)


def service_route_node(cluster: Cluster) -> Node | None:
    """Return the node through which the machine reaches services now."""
    route = output_of(["ip", "-4", "route", "show", cluster.service_range])
    for node in cluster.nodes:
        if f"via {cluster.address(node)} " in route:
            return node
    return None


def create_network(cluster: Cluster) -> None:
    """Lay all cables of a cluster."""
    prepare_place()
    create_switch(cluster)
    for node in cluster.nodes:
        create_node_network(cluster, node)
    route_services(cluster, cluster.nodes[0])


def remove_network(cluster: Cluster) -> None:
    """Remove the namespaces, and with them the links and routes that lead into them."""
    succeeds(["ip", "link", "delete", cluster.link])
    for namespace in namespaces_of(cluster.name):
        ip("netns", "delete", namespace)


def namespaces_of(name: str) -> list[str]:
    """Return the network namespaces of the cluster with this name."""
    found = sorted(path.name for path in NAMESPACES.glob(f"lab-{name}-*"))
    return [each for each in found if each.removeprefix(f"lab-{name}-").removeprefix("node").isdigit()
            or each == f"lab-{name}-switch"]  # fmt: skip
