"""The commands of the components that belong to no node: store, API server, controllers, add-ons. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from appstack_lab.cluster import Cluster


def build_etcd(bin_: Path, cluster: Cluster) -> list[str]:
    """The store; without fsync: a lab need not survive a power cut."""
    peer = f"http://{cluster.loopback}:2380"
    return [
        f"{bin_}/etcd",
        "--name=lab",
        f"--data-dir={cluster.directory}/etcd",
        f"--listen-client-urls={cluster.etcd}",
        f"--advertise-client-urls={cluster.etcd}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=lab={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def build_audit_policy() -> dict[str, Any]:
    """Record who wrote what: enough to prove that somebody writes nothing."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {
                "level": "Metadata",
                "verbs": ["create", "update", "patch", "delete", "deletecollection"],
            },
            {"level": "None"},
        ],
    }


def build_api_server(bin_: Path, cluster: Cluster) -> list[str]:
    """The API server, with the aggregation layer and a client certificate for the kubelets."""
    pki = cluster.pki
    return [
        f"{bin_}/kube-apiserver",
        f"--etcd-servers={cluster.etcd}",
        f"--bind-address={cluster.gateway}",
        "--secure-port=6443",
        f"--advertise-address={cluster.gateway}",
        f"--service-cluster-ip-range={cluster.service_range}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        "--enable-aggregator-routing=true",  # aggregated APIs and webhooks by pod address
        f"--audit-policy-file={cluster.config}/audit-policy.json",
        f"--audit-log-path={cluster.logs}/audit.log",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=1",
        "--v=1",
    ]


def build_controller_manager(bin_: Path, cluster: Cluster) -> list[str]:
    """The controllers; pods' ranges are fixed per node, so none are allotted.

    As kubeadm has it, it holds a Lease though it is alone: whoever cannot renew it ends. One that goes on through an
    outage of the API server takes all nodes for lost when that is back, for their last word is older than it allows:
    their pods leave their Services, and a kubelet, whose own watch may wait for a minute, puts it right late.
    """
    kubeconfig = f"{cluster.config}/controller-manager.kubeconfig"
    return [
        f"{bin_}/kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={cluster.loopback}",
        f"--tls-cert-file={cluster.pki}/controller-manager.crt",
        f"--tls-private-key-file={cluster.pki}/controller-manager.key",
        "--leader-elect=true",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={cluster.pki}/service-accounts.key",
        f"--root-ca-file={cluster.pki}/ca.crt",
        f"--cluster-signing-cert-file={cluster.pki}/ca.crt",
        f"--cluster-signing-key-file={cluster.pki}/ca.key",
        f"--requestheader-client-ca-file={cluster.pki}/front-proxy-ca.crt",
        "--allocate-node-cidrs=false",
        f"--cluster-cidr={cluster.pod_range}",
        f"--service-cluster-ip-range={cluster.service_range}",
        f"--flex-volume-plugin-dir={cluster.directory}/plugins",
        "--v=1",
    ]


def build_scheduler(bin_: Path, cluster: Cluster) -> list[str]:
    """The scheduler."""
    kubeconfig = f"{cluster.config}/scheduler.kubeconfig"
    return [
        f"{bin_}/kube-scheduler",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={cluster.loopback}",
        f"--tls-cert-file={cluster.pki}/scheduler.crt",
        f"--tls-private-key-file={cluster.pki}/scheduler.key",
        "--leader-elect=true",
        "--v=1",
    ]


def build_local_path_provisioner(bin_: Path, cluster: Cluster, helper_image: str) -> list[str]:
    """The provisioner of volumes; it makes directories through helper pods on the nodes."""
    return [
        f"{bin_}/local-path-provisioner",
        "start",
        f"--config={cluster.config}/local-path.json",
        f"--kubeconfig={cluster.config}/local-path-provisioner.kubeconfig",
        "--namespace=local-path-storage",
        "--service-account-name=local-path-provisioner",
        "--configmap-name=local-path-config",
        f"--helper-image={helper_image}",
        "--worker-threads=8",
    ]


def build_metrics_server(bin_: Path, cluster: Cluster) -> list[str]:
    """The resource metrics for `kubectl top` and autoscalers."""
    kubeconfig = f"{cluster.config}/metrics-server.kubeconfig"
    return [
        f"{bin_}/metrics-server",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={cluster.gateway}",
        "--secure-port=4443",
        f"--tls-cert-file={cluster.pki}/metrics-server.crt",
        f"--tls-private-key-file={cluster.pki}/metrics-server.key",
        f"--kubelet-certificate-authority={cluster.pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=15s",
    ]
