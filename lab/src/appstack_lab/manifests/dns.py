"""The cluster's name service: two CoreDNS pods on different nodes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appstack_lab.manifests import Object, build_account, build_config, build_role

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster

NAMESPACE = "kube-system"
SELECTOR = {"k8s-app": "kube-dns"}
# Short lives: a drill that moves addresses is not prolonged by the cache.
COREFILE = """\
.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    prometheus :9153
    cache 5
    loadbalance
}
"""


def build_dns(cluster: Cluster, image: str) -> list[Object]:
    """Build everything of the name service."""
    return [
        build_account("coredns", NAMESPACE),
        *build_permissions(),
        build_config("coredns", NAMESPACE, {"Corefile": COREFILE}),
        build_deployment(image, min(2, len(cluster.nodes))),
        build_service(cluster.dns_service),
    ]


def build_permissions() -> list[Object]:
    """Let the name service see what has names."""
    return [
        build_role(
            "system:coredns",
            [
                ([""], ["endpoints", "services", "pods", "namespaces"], ["list", "watch"]),
                (["discovery.k8s.io"], ["endpointslices"], ["list", "watch"]),
            ],
        ),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:coredns",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": NAMESPACE}],
        },
    ]


def build_service(address: str) -> Object:
    """Build the Service at the address that every pod is told."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": NAMESPACE, "labels": SELECTOR},
        "spec": {
            "clusterIP": address,
            "selector": SELECTOR,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
            ],
        },
    }


def build_deployment(image: str, replicas: int) -> Object:
    """Build the Deployment: never two pods on one node."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "coredns", "namespace": NAMESPACE, "labels": SELECTOR},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": SELECTOR},
            "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {"metadata": {"labels": SELECTOR}, "spec": build_pod(image)},
        },
    }


def build_pod(image: str) -> Object:
    """Build the pod: no root, and not where its twin is."""
    return {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": SELECTOR}}
                ]
            }
        },
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532},
        "containers": [build_container(image)],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }


def build_container(image: str) -> Object:
    """Build the container: no writable files."""
    return {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": 8080},
            "initialDelaySeconds": 30,
            "failureThreshold": 5,
        },
        "resources": {
            "requests": {"cpu": "50m", "memory": "40Mi"},
            "limits": {"memory": "170Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
