"""What the StatefulSets of the data services have in common: Services, budgets, claims, accounts. Pure."""

from collections.abc import Mapping, Sequence

from appstack_operator.api import AppStack, DeletionPolicy
from appstack_operator.api.common import Storage
from appstack_operator.desired.pods import placement, pod_security, pull_secrets
from appstack_operator.objects import ROLE_LABEL, Object, labels, metadata, selector

CONFIG_CHECKSUM = "appstack.dev/config-checksum"
Ports = Mapping[str, int]


def build_stateful_set(
    stack: AppStack,
    component: str,
    *,
    replicas: int,
    pod: Object,
    user_id: int,
    checksum: str,
    pod_labels: Mapping[str, str] | None = None,
    storage: Storage | None = None,
) -> Object:
    """A StatefulSet whose pods start side by side; the operator chooses the order of restarts (OnDelete)."""
    spec: Object = {
        "serviceName": f"{stack.name}-{component}-pods",
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector(stack, component)},
        "template": {
            "metadata": {
                "labels": {**labels(stack, component), **(pod_labels or {})},
                "annotations": {CONFIG_CHECKSUM: checksum},
            },
            "spec": {
                "enableServiceLinks": False,
                "securityContext": pod_security(user_id),
                **placement(stack, component),
                **pull_secrets(stack),
                **pod,
            },
        },
    }
    if storage:
        spec["persistentVolumeClaimRetentionPolicy"] = {
            "whenDeleted": "Delete" if stack.spec.deletion_policy is DeletionPolicy.DELETE else "Retain",
            "whenScaled": "Retain",
        }
        spec["volumeClaimTemplates"] = [build_claim_template(stack, component, storage)]
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata(stack, component), "spec": spec}


def build_claim_template(stack: AppStack, component: str, storage: Storage) -> Object:
    """The claim `data` of each pod; it has no owner, so that data can outlive the stack."""
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size}},
        "volumeMode": "Filesystem",
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": labels(stack, component)},
        "spec": spec,
    }


def build_disruption_budget(stack: AppStack, component: str) -> Object:
    """Let a drain take one pod at a time: that keeps the quorum, and never blocks a drain for good."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(stack, component),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(stack, component)}},
    }


def build_service(
    stack: AppStack, component: str, name: str, ports: Ports, more_selector: Mapping[str, str] | None = None
) -> Object:
    """A Service with an address, for the ready pods that the selector finds."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(stack, component, name=name),
        "spec": {
            "type": "ClusterIP",
            "selector": {**selector(stack, component), **(more_selector or {})},
            "ports": service_ports(ports),
        },
    }


def build_role_service(stack: AppStack, component: str, name: str, ports: Ports, role: str) -> Object:
    """A Service for who has a role that one pod has at a time: its label alone decides, not whether it is ready.

    Nobody else could serve in its place, and a leader that is well counts as not ready where Kubernetes takes its node
    for lost, as it may take all nodes after an outage of the API server.
    """
    service = build_service(stack, component, name, ports, {ROLE_LABEL: role})
    service["spec"]["publishNotReadyAddresses"] = True
    return service


def build_headless_service(stack: AppStack, component: str, ports: Ports) -> Object:
    """The names of the pods in DNS, also while they are not ready: members must find each other to become it."""
    service = build_service(stack, component, f"{stack.name}-{component}-pods", ports)
    service["spec"] |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return service


def build_pod_service(stack: AppStack, component: str, pod: str, ports: Ports) -> Object:
    """One pod's own address: stable over restarts, never reused while it exists, known without DNS."""
    service = build_service(stack, component, pod, ports, {"statefulset.kubernetes.io/pod-name": pod})
    service["spec"]["publishNotReadyAddresses"] = True
    return service


def service_ports(ports: Ports) -> list[Object]:
    """The ports of a Service, each to the same port of the pods."""
    return [{"name": name, "port": number, "targetPort": number, "protocol": "TCP"} for name, number in ports.items()]


def container_ports(ports: Ports) -> list[Object]:
    """The same for a container."""
    return [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in ports.items()]


def build_config_map(stack: AppStack, component: str, files: Mapping[str, str]) -> Object:
    """The configuration files of a component."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(stack, component),
        "data": dict(files),
    }


def build_account(stack: AppStack, component: str, rules: Sequence[Object]) -> list[Object]:
    """An identity of the pods, with exactly these permissions."""
    meta = metadata(stack, component)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "automountServiceAccountToken": False},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": meta,
            "rules": list(rules),
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": meta["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": meta["name"], "namespace": stack.namespace}],
        },
    ]


def pods_of(stack: AppStack, component: str, count: int) -> list[str]:
    """The names of a StatefulSet's pods."""
    return [f"{stack.name}-{component}-{ordinal}" for ordinal in range(count)]


def from_field(name: str, path: str) -> Object:
    """A variable whose value is a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def from_secret(name: str, secret: str, key: str) -> Object:
    """A variable whose value is a key of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def memory_volume(name: str, size: str) -> Object:
    """A small writable directory in memory: secrets in it never reach a disk."""
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}
