"""etcd, API server, controller manager, kwok and the responder, all in the network namespace of this process."""

from __future__ import annotations

import json
import os
import ssl
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from appstack_lab.binaries import bin_directory, build_binaries, directory_of, groups_of
from appstack_lab.config.controlplane import build_controller_manager
from appstack_lab.controlplane import kubeconfig_of
from tests.apiserver.kit import server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

POD_RANGE = "127.64.0.1/16"
ROOT = Path(__file__).parents[2]
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "kwok", "annotations": {"kwok.x-k8s.io/node": "fake"}},
    "status": {"allocatable": {"cpu": "9999", "memory": "9Ti", "pods": "99999"}},
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything is."""

    cluster: server.BareCluster
    kubeconfig: Path


def client_of(folder: str) -> httpx.AsyncClient:
    """An administrator's client; `folder` holds the certificates and the address."""
    root = Path(folder)
    context = ssl.create_default_context(cafile=str(root / "pki" / "ca.crt"))
    context.load_cert_chain(str(root / "pki" / "admin.crt"), str(root / "pki" / "admin.key"))
    limits = httpx.Limits(max_connections=50)
    return httpx.AsyncClient(base_url=(root / "address").read_text(), verify=context, timeout=60, limits=limits)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """The control plane with one kwok node, for as long as the block runs."""
    build_binaries(["etcd", "kube-apiserver", "kube-controller-manager", "kwok"])
    with ExitStack() as stack:
        cluster = stack.enter_context(server.running(folder))
        (folder / "address").write_text(f"https://{cluster.api}")
        kubeconfig = folder / "config" / "admin.kubeconfig"
        for name in ("admin", "controller-manager"):
            path = folder / "config" / f"{name}.kubeconfig"
            path.write_text(json.dumps(kubeconfig_of(cluster, name, name)))
        fast = ["--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-statefulset-syncs=20"]
        fast += ["--concurrent-job-syncs=20", "--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20"]
        fast += ["--controllers=*,-node-lifecycle-controller"]  # the node is no more than a word: nobody renews it
        manager = [*build_controller_manager(bin_directory(), cluster), *fast]
        stack.enter_context(server.process(manager, cluster.logs / "kube-controller-manager.log"))
        with cluster.client() as client:
            client.post("/api/v1/nodes", json=NODE).raise_for_status()
        kwok = [str(directory_of(groups_of(["kwok"])[0]) / "kwok"), f"--kubeconfig={kubeconfig}"]
        kwok += [
            f"--config={Path(__file__).with_name('stages.yaml')}",
            "--manage-all-nodes=true",
            f"--cidr={POD_RANGE}",
            "--node-ip=127.0.0.1",
        ]
        stack.enter_context(server.process(kwok, cluster.logs / "kwok.log"))
        responder = [sys.executable, "-m", "bench.operator.respond", str(folder)]
        os.environ["PYTHONPATH"] = str(ROOT)
        stack.enter_context(server.process(responder, cluster.logs / "respond.log"))
        yield Site(cluster, kubeconfig)


@contextmanager
def operator(site: Site, poll_seconds: float, port: int = 9000) -> Iterator[subprocess.Popen[bytes]]:
    """One operator for the whole cluster."""
    images = {f"APPSTACK_IMAGE_{name}": f"{name.lower()}:1" for name in ("BACKEND", "POSTGRES", "REDIS", "RABBITMQ")}
    own = {"KUBECONFIG": str(site.kubeconfig), "APPSTACK_POLL_SECONDS": str(poll_seconds)}
    os.environ.update({**images, **own, "APPSTACK_METRICS_PORT": str(port)})
    command = [sys.executable, "-c", "from appstack_operator.main import main; main()", "run"]
    with server.process(command, site.cluster.logs / "operator.log") as process:
        yield process
