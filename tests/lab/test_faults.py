"""A node can be cut off, made deaf or mute, crashed and mended; the others carry on."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from appstack_lab.state import require_cluster

from .conftest import commands_with, eventually, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import LabCluster

pytestmark = pytest.mark.timeout(600)

KUBELET = 10250


def answers(address: str, port: int = KUBELET) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


@pytest.fixture(autouse=True)
def mended(cluster: LabCluster) -> Iterator[None]:
    """Leave the cluster as it was."""
    yield
    for node in cluster.status()["nodes"]:
        cluster.lab("node", "heal", node["name"])
        if node["fault"] == "crashed":
            cluster.lab("node", "restart", node["name"])
    eventually("a well cluster", lambda: cluster.lab("status", check=False).returncode == 0)
    cluster.kubectl("rollout", "status", "statefulset/box", "--timeout=240s")


def test_a_cut_node_is_out_of_reach_and_services_are_not(cluster: LabCluster) -> None:
    service = cluster.kubectl("get", "service", "box", "-o", "jsonpath={.spec.clusterIP}")
    carrier = cluster.status()["services_through"]
    address = cluster.node(carrier)["address"]
    eventually("an answer of the whole node", lambda: answers(address))
    cluster.lab("node", "partition", carrier)
    assert not answers(address)
    assert cluster.status()["services_through"] != carrier
    eventually("an answer from the other side", lambda: answers(service, 80))
    cluster.lab("node", "heal", carrier)
    eventually("an answer of the healed node", lambda: answers(address))


LISTEN = """
import select, socket, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.readline()  # everything has been sent
print("heard" if select.select([listener], [], [], 3)[0] else "nothing")
"""
SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(5):
    sender.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
"""


def inside(namespace: str, script: str, *arguments: str) -> list[str]:
    """A command that runs a script in a network namespace, or on the machine where none is named."""
    enter = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    return [*enter, sys.executable, "-c", script, *arguments]


def datagram_arrives(sender: str, receiver: str, address: str) -> bool:
    """Send to an address of the receiver's, where somebody listens; nothing has to come back for it to be heard."""
    with subprocess.Popen(
        inside(receiver, LISTEN, address), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdout is not None
        port = listener.stdout.readline().strip()
        run(*inside(sender, SEND, address, port))
        said, _ = listener.communicate("sent\n", timeout=60)
    return said.strip() == "heard"


@contextlib.contextmanager
def known_neighbours(machine_link: str, namespace: str, gateway: str, address: str) -> Iterator[None]:
    """Tell both ends of a cable each other's hardware address: asking for it needs both directions."""
    node = ["ip", "-n", namespace]
    hardware = {
        end: json.loads(run(*where, "-json", "link", "show", link).stdout)[0]["address"]
        for end, where, link in (("machine", ["ip"], machine_link), ("node", node, "eth0"))
    }
    ends = [
        (["ip"], address, hardware["node"], machine_link),
        (node, gateway, hardware["machine"], "eth0"),
    ]
    for where, to, mac, link in ends:
        run(*where, "neigh", "replace", to, "lladdr", mac, "nud", "permanent", "dev", link)
    try:
        yield
    finally:
        for where, to, _, link in ends:
            run(*where, "neigh", "delete", to, "dev", link)


@pytest.mark.parametrize(
    ("direction", "reaches_node", "leaves_node"), [("in", False, True), ("out", True, False), ("both", False, False)]
)
def test_a_cut_drops_what_goes_its_way_and_nothing_else(
    cluster: LabCluster, direction: str, reaches_node: bool, leaves_node: bool
) -> None:
    lab = require_cluster(cluster.name)
    node = lab.nodes[-1]
    address, namespace = lab.address(node), lab.namespace(node)
    with known_neighbours(lab.link, namespace, lab.gateway, address):
        assert datagram_arrives("", namespace, address)
        assert datagram_arrives(namespace, "", lab.gateway)
        one_way = [] if direction == "both" else ["--one-way", direction]
        assert f"lab node heal {node.name}" in cluster.lab("node", "partition", node.name, *one_way).stderr
        assert datagram_arrives("", namespace, address) is reaches_node
        assert datagram_arrives(namespace, "", lab.gateway) is leaves_node
        assert not answers(address)  # a conversation needs both
        assert "plugged in again" in cluster.lab("node", "heal", node.name).stderr
        assert datagram_arrives("", namespace, address)
        assert datagram_arrives(namespace, "", lab.gateway)


def test_a_crashed_node_takes_its_pods_along_and_stays_down(cluster: LabCluster) -> None:
    pod = cluster.pod_on("node2")
    address = cluster.node("node2")["address"]
    here = f"/{cluster.name}/nodes/node2/"
    assert len(commands_with(here)) > 5
    cluster.lab("node", "crash", "node2")
    assert commands_with(here) == {}
    assert not answers(address)
    assert cluster.node("node2")["fault"] == "crashed"
    assert cluster.process("node2")["state"] == "stopped"

    cluster.lab("node", "restart", "node2")
    restarts = "jsonpath={.status.containerStatuses[0].restartCount}"
    eventually("the pod again", lambda: int(cluster.kubectl("get", "pod", pod, "-o", restarts) or 0) >= 1)
    assert cluster.process("node2")["state"] == "running"
