"""A node can be cut off, made deaf or mute, crashed and mended; the others carry on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

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
    cluster.kubectl("rollout", "status", "statefulset/box", "--timeout=60s")


def test_a_cut_node_is_out_of_reach_and_services_are_not(cluster: LabCluster):
    service = cluster.kubectl("get", "service", "box", "-o", "jsonpath={.spec.clusterIP}")
    carrier = cluster.status()["services_through"]
    address = cluster.node(carrier)["address"]
    assert answers(address)
    cluster.lab("node", "partition", carrier)
    assert not answers(address)
    assert cluster.status()["services_through"] != carrier
    eventually("an answer from the other side", lambda: answers(service, 80), seconds=15)
    cluster.lab("node", "heal", carrier)
    assert answers(address)


@pytest.mark.parametrize(("direction", "dropped"), [("in", "oifname"), ("out", "iifname")])
def test_a_one_way_cut_drops_one_way(cluster: LabCluster, direction: str, dropped: str):
    address = cluster.node("node2")["address"]
    cluster.lab("node", "partition", "node2", "--one-way", direction)
    rules = run("nsenter", f"--net=/run/netns/lab-{cluster.name}-switch", "nft", "list", "ruleset").stdout
    assert f'{dropped} "node2" drop' in rules
    assert rules.count("drop") == 1
    assert not answers(address)


def test_a_crashed_node_takes_its_pods_along_and_stays_down(cluster: LabCluster):
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
    eventually("the pod again", lambda: cluster.kubectl("get", "pod", pod, "-o", restarts) == "1")
    assert cluster.process("node2")["state"] == "running"
