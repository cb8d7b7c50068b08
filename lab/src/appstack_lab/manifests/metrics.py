"""The resource metrics API: metrics-server runs beside the API server, a Service leads to it. Pure."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from appstack_lab.manifests import Object, build_account_binding, build_role

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster

NAMESPACE = "kube-system"
NAME = "metrics-server"
USER = "lab:metrics-server"
PORT = 4443


def build_metrics(cluster: Cluster, authority: bytes) -> list[Object]:
    """Build everything of the metrics API."""
    return [*build_permissions(), *build_service(cluster), build_api_service(authority)]


def build_permissions() -> list[Object]:
    """Let metrics-server ask the nodes and check who asks it; the reader's role is for those who may."""
    return [
        build_role(
            "system:metrics-server",
            [
                ([""], ["nodes/metrics"], ["get"]),
                ([""], ["pods", "nodes"], ["get", "list", "watch"]),
            ],
        ),
        build_role(
            "system:aggregated-metrics-reader",
            [(["metrics.k8s.io"], ["pods", "nodes"], ["get", "list", "watch"])],
        ),
        build_account_binding("lab:metrics-server", "system:metrics-server", USER),
        build_account_binding("lab:metrics-server:auth-delegator", "system:auth-delegator", USER),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "lab:metrics-server", "namespace": NAMESPACE},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "extension-apiserver-authentication-reader",
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        },
    ]


def build_service(cluster: Cluster) -> list[Object]:
    """Build the Service and the endpoint that no pod stands behind."""
    metadata = {"name": NAME, "namespace": NAMESPACE}
    port = {"name": "https", "port": PORT, "protocol": "TCP"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT, "protocol": "TCP"}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [cluster.gateway], "conditions": {"ready": True}}],
            "ports": [port],
        },
    ]


def build_api_service(authority: bytes) -> Object:
    """Tell the API server who answers for the metrics API, and who vouches for that."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": base64.b64encode(authority).decode(),
            "service": {"name": NAME, "namespace": NAMESPACE, "port": 443},
        },
    }
