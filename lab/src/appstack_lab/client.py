"""Asks the API server of a cluster: is it ready, are its nodes; and applies objects with kubectl."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any

from appstack_lab.binaries import program
from appstack_lab.commands import output_of

if TYPE_CHECKING:
    from pathlib import Path

    from appstack_lab.cluster import Cluster
    from appstack_lab.manifests import Object

TIMEOUT_SECONDS = 5.0


def get(cluster: Cluster, path: str) -> tuple[int, bytes]:
    """GET a path as the administrator; (0, b"") when the server does not answer."""
    try:
        context = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
        context.load_cert_chain(cluster.pki / "admin.crt", cluster.pki / "admin.key")
        host, _, port = cluster.api.rpartition(":")
        connection = http.client.HTTPSConnection(host, int(port), timeout=TIMEOUT_SECONDS, context=context)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return 0, b""


def get_json(cluster: Cluster, path: str) -> dict[str, Any] | None:
    """GET a path as JSON; None when there is no good answer."""
    status, body = get(cluster, path)
    return json.loads(body) if status == 200 else None


def is_ready(cluster: Cluster) -> bool:
    """Tell whether the API server says it is ready."""
    return get(cluster, "/readyz")[0] == 200


def condition(item: dict[str, Any], kind: str) -> str:
    """Return the status of an object's condition: True, False, Unknown."""
    for each in item.get("status", {}).get("conditions", []):
        if each["type"] == kind:
            return str(each["status"])
    return "Unknown"


def nodes_ready(cluster: Cluster) -> dict[str, bool]:
    """Return which nodes are registered, and whether each is Ready."""
    answer = get_json(cluster, "/api/v1/nodes") or {"items": []}
    return {item["metadata"]["name"]: condition(item, "Ready") == "True" for item in answer["items"]}


def all_nodes_ready(cluster: Cluster) -> bool:
    """Tell whether every node of the cluster is Ready."""
    ready = nodes_ready(cluster)
    return all(ready.get(node.name, False) for node in cluster.nodes)


def dns_ready(cluster: Cluster) -> bool:
    """Tell whether the name service has all its pods."""
    answer = get_json(cluster, "/apis/apps/v1/namespaces/kube-system/deployments/coredns") or {}
    status = answer.get("status", {})
    wanted = answer.get("spec", {}).get("replicas")
    return wanted is not None and status.get("readyReplicas") == wanted


def apply_objects(kubeconfig: Path, objects: list[Object]) -> None:
    """Apply objects as the administrator, in their order."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    kubectl = [str(program("kubectl")), f"--kubeconfig={kubeconfig}"]
    output_of([*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"], stdin=text)
