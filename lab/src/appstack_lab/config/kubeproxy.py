"""kube-proxy's configuration. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster, Node


def build_kube_proxy_config(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Build the KubeProxyConfiguration of a node."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": f"{cluster.config}/kube-proxy.kubeconfig"},
        # Traffic from elsewhere, so from the machine, is masqueraded: the answer finds its way back.
        "clusterCIDR": cluster.pod_range,
        "hostnameOverride": node.name,
        "conntrack": {"maxPerCore": 0},  # the limit is the machine's, not ours to set
        "healthzBindAddress": "",
        "metricsBindAddress": "127.0.0.1:10249",
    }
