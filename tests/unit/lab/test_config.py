"""What every component is told: the settings that were learnt the hard way stay."""

from __future__ import annotations

import tomllib
from pathlib import Path

from appstack_lab.cluster import Cluster, Node
from appstack_lab.config.containerd import CRI, build_cni_config, build_containerd_config
from appstack_lab.config.controlplane import build_api_server, build_etcd
from appstack_lab.config.kubelet import build_kubelet_command, build_kubelet_config
from appstack_lab.config.kubeproxy import build_kube_proxy_config
from appstack_lab.node import build_node_command
from appstack_lab.pki import build_subjects

NODE = Node("node2", 2, {"disk": "ssd"})
CLUSTER = Cluster("shop", 1, (Node("node1", 1), NODE))
BIN = Path("/opt/bin")


def test_containerd_takes_what_we_write() -> None:
    config = tomllib.loads(build_containerd_config(CLUSTER, NODE, "appstack.dev/pause:1"))
    cri = config["plugins"][CRI]
    assert cri["sandbox_image"] == "appstack.dev/pause:1"
    assert cri["restrict_oom_score_adj"] is True
    assert config["grpc"]["address"] == str(CLUSTER.containerd(NODE))


def test_nodes_share_no_directory() -> None:
    one, two = (tomllib.loads(build_containerd_config(CLUSTER, node, "p")) for node in CLUSTER.nodes)
    assert one["root"] != two["root"]


def test_pods_get_addresses_of_their_node() -> None:
    ipam = build_cni_config(CLUSTER, NODE)["plugins"][0]["ipam"]
    assert ipam["ranges"] == [[{"subnet": "10.66.2.0/24"}]]


def test_a_kubelet_keeps_to_its_control_group_and_counts_pods_in_it() -> None:
    config = build_kubelet_config(CLUSTER, NODE)
    assert config["cgroupRoot"] == "/appstack-lab/shop/node2"
    assert config["cgroupsPerQOS"] is True
    assert config["failCgroupV1"] is False


def test_a_kubelet_never_deletes_images_that_were_loaded() -> None:
    assert build_kubelet_config(CLUSTER, NODE)["imageGCHighThresholdPercent"] == 100


def test_a_node_is_a_zone_and_has_the_labels_it_was_given() -> None:
    command = build_kubelet_command(BIN / "kubelet", CLUSTER, NODE)
    labels = "disk=ssd,topology.kubernetes.io/region=lab,topology.kubernetes.io/zone=zone-2"
    assert f"--node-labels={labels}" in command


def test_the_machine_is_masqueraded_when_it_calls_a_service() -> None:
    assert build_kube_proxy_config(CLUSTER, NODE)["clusterCIDR"] == CLUSTER.pod_range


def test_only_the_machine_reaches_the_store() -> None:
    assert "--listen-client-urls=http://127.30.1.1:2379" in build_etcd(BIN, CLUSTER)


def test_the_api_server_reaches_aggregated_apis_by_pod_address() -> None:
    assert "--enable-aggregator-routing=true" in build_api_server(BIN, CLUSTER)


def test_a_node_ends_with_its_first_process_and_that_with_the_supervisor() -> None:
    command = build_node_command(CLUSTER, NODE)
    assert command[:3] == ["setpriv", "--pdeathsig", "KILL"]
    assert {"--pid", "--mount", "--kill-child=KILL"} <= set(command)


def test_every_node_has_a_certificate_to_ask_with_and_one_to_serve_with() -> None:
    subjects = {subject.file: subject for subject in build_subjects(CLUSTER)}
    assert subjects["node2"].common_name == "system:node:node2"
    assert subjects["node2"].organization == "system:nodes"
    assert CLUSTER.address(NODE) in subjects["node2-serving"].names
