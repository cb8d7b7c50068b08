"""The kubelet's configuration and command. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from appstack_lab.cluster import Cluster, Node


def build_kubelet_config(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Build the KubeletConfiguration of a node."""
    home = cluster.home(node)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": cluster.address(node),
        "healthzBindAddress": cluster.address(node),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{cluster.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{cluster.pki}/{node.name}-serving.crt",
        "tlsPrivateKeyFile": f"{cluster.pki}/{node.name}-serving.key",
        "clusterDNS": [cluster.dns_service],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{cluster.config}/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{cluster.containerd(node)}",
        "volumePluginDir": f"{home}/plugins",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}/{node.name}",
        # false crashed kubelets: a nil pointer for an init container without resources
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        # The disk is the machine's: neither evict for it nor delete images that were loaded by hand.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "rotateCertificates": False,
    }


def build_kubelet_command(program: Path, cluster: Cluster, node: Node) -> list[str]:
    """Build the kubelet's command; labels as given, each node a zone of its own."""
    labels = {
        "topology.kubernetes.io/region": "lab",
        "topology.kubernetes.io/zone": f"zone-{node.number}",
        **node.labels,
    }
    return [
        str(program),
        f"--config={cluster.home(node)}/kubelet.json",
        f"--kubeconfig={cluster.home(node)}/kubeconfig",
        f"--root-dir={cluster.home(node)}/kubelet",
        f"--hostname-override={node.name}",
        f"--node-ip={cluster.address(node)}",
        f"--node-labels={','.join(f'{key}={value}' for key, value in sorted(labels.items()))}",
        "--v=1",
    ]
