"""Dynamic volumes: a default StorageClass whose volumes are directories on the pod's node. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from appstack_lab.manifests import Object, build_account, build_account_binding, build_config, build_role

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster

NAMESPACE = "local-path-storage"
USER = "lab:local-path-provisioner"
SETUP = '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n'
TEARDOWN = '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n'


def build_paths(cluster: Cluster) -> dict[str, Any]:
    """Build the provisioner's configuration: every node has its own directory."""
    return {"nodePathMap": [{"node": node.name, "paths": [f"{cluster.home(node)}/volumes"]} for node in cluster.nodes]}


def build_helper_pod(image: str) -> Object:
    """Build the pod that makes or removes a volume's directory; it tolerates whatever ails the node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "priorityClassName": "system-node-critical",
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "helper-pod",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "resources": {
                        "requests": {"cpu": "10m", "memory": "8Mi"},
                        "limits": {"memory": "64Mi"},
                    },
                }
            ],
        },
    }


def build_storage(cluster: Cluster, helper_image: str) -> list[Object]:
    """Build everything of dynamic volumes."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        build_account("local-path-provisioner", NAMESPACE),
        *build_permissions(),
        build_class(),
        build_config(
            "local-path-config",
            NAMESPACE,
            {
                "config.json": json.dumps(build_paths(cluster)),
                "setup": SETUP,
                "teardown": TEARDOWN,
                "helperPod.yaml": json.dumps(build_helper_pod(helper_image)),
            },
        ),
    ]


def build_permissions() -> list[Object]:
    """Let the provisioner make volumes, and helper pods on the nodes."""
    everything = ["get", "list", "watch", "create", "patch", "update", "delete"]
    return [
        build_role(
            "lab:local-path-provisioner",
            [
                ([""], ["nodes", "persistentvolumeclaims", "configmaps"], ["get", "list", "watch"]),
                ([""], ["pods", "persistentvolumes"], everything),
                ([""], ["pods/log"], ["get"]),
                (["", "events.k8s.io"], ["events"], ["create", "patch"]),
                ([""], ["endpoints"], everything),
                (["coordination.k8s.io"], ["leases"], everything),
                (["storage.k8s.io"], ["storageclasses"], ["get", "list", "watch"]),
            ],
        ),
        build_account_binding("lab:local-path-provisioner", "lab:local-path-provisioner", USER),
    ]


def build_class() -> Object:
    """Build the default StorageClass: a volume lies where its first pod runs."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "rancher.io/local-path",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }
