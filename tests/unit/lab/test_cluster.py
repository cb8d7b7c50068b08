"""A cluster's addresses and names follow from its index and name, and never clash."""

from __future__ import annotations

import ipaddress
from itertools import combinations

import pytest

from appstack_lab.cluster import MAX_CLUSTERS, Cluster, Node, build_nodes, checked_name, nodes_of_kind_config
from appstack_lab.create import refuse_another_shape
from appstack_lab.failures import LabError
from appstack_lab.state import overlaps


def a_cluster(index: int = 0, nodes: int = 3) -> Cluster:
    return Cluster("shop", index, build_nodes(nodes))


def ranges(cluster: Cluster) -> list[ipaddress.IPv4Network]:
    texts = (f"{cluster.gateway}/24", cluster.pod_range, cluster.service_range)
    return [ipaddress.IPv4Network(text, strict=False) for text in texts]


def test_no_two_clusters_share_an_address() -> None:
    everything = [each for index in range(MAX_CLUSTERS) for each in ranges(a_cluster(index))]
    assert not any(one.overlaps(other) for one, other in combinations(everything, 2))


def test_every_address_lies_in_its_range() -> None:
    cluster = a_cluster(index=5)
    nodes, pods, services = ranges(cluster)
    for node in cluster.nodes:
        assert ipaddress.ip_address(cluster.address(node)) in nodes
        assert ipaddress.IPv4Network(cluster.pods_of(node)).subnet_of(pods)
    assert ipaddress.ip_address(cluster.dns_service) in services
    assert ipaddress.ip_address(cluster.api_service) in services


def test_a_range_that_the_machine_uses_is_not_taken() -> None:
    assert overlaps(a_cluster(), [ipaddress.IPv4Network("10.64.7.0/24")])
    assert not overlaps(a_cluster(), [ipaddress.IPv4Network("192.168.0.0/16")])


def test_a_cluster_survives_being_written_down() -> None:
    cluster = Cluster("shop", 3, (Node("node1", 1, {"disk": "ssd"}),), volume_size="2Gi")
    assert Cluster.from_dict(cluster.to_dict()) == cluster


@pytest.mark.parametrize("name", ["", "Shop", "-shop", "shop-", "a" * 31, "shop/../x"])
def test_a_name_that_cannot_be_a_directory_and_a_host_is_refused(name: str) -> None:
    with pytest.raises(LabError):
        checked_name(name)


def test_a_kind_document_says_how_many_nodes() -> None:
    config = {"kind": "Cluster", "nodes": [{"role": "control-plane"}, {"role": "worker", "labels": {"disk": "ssd"}}]}
    assert nodes_of_kind_config(config) == (Node("node1", 1), Node("node2", 2, {"disk": "ssd"}))


def test_a_kind_document_without_nodes_means_one() -> None:
    assert nodes_of_kind_config({"kind": "Cluster"}) == (Node("node1", 1),)


def test_another_document_is_refused() -> None:
    with pytest.raises(LabError, match="kind must be Cluster"):
        nodes_of_kind_config({"kind": "Pod"})


def test_an_unknown_node_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LabError, match="node1, node2, node3"):
        a_cluster().node("node9")


def test_a_running_cluster_of_limited_volumes_will_do_where_nobody_asks_for_a_size() -> None:
    limited = Cluster("shop", 0, build_nodes(3), volume_size="6Gi")
    refuse_another_shape(limited, build_nodes(3), None)
    refuse_another_shape(limited, build_nodes(3), "6Gi")
    for nodes, size in ((3, "2Gi"), (3, ""), (2, None)):
        with pytest.raises(LabError, match="delete it first"):
            refuse_another_shape(limited, build_nodes(nodes), size)
