"""etcd and kube-apiserver alone, on a loopback address of their own, with the lab's certificates and flags."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import yaml

from appstack_lab.binaries import bin_directory, build_binaries
from appstack_lab.cluster import Cluster
from appstack_lab.config.controlplane import build_api_server, build_audit_policy, build_etcd
from appstack_lab.node import DIE_WITH_PARENT
from appstack_lab.pki import write_pki
from appstack_lab.state import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

CRD = Path(__file__).parents[3] / "crds" / "appstacks.appstack.dev.yaml"
PATIENCE_SECONDS = 240.0
# Two processes of one service account are told apart by their tokens' uids in the audit log.
ACCOUNT = "system:serviceaccount:appstack-system:appstack-operator"
TOKENS = (
    'admin,admin,admin,"system:masters"',
    *(f'operator-{each},{ACCOUNT},{each},"system:serviceaccounts"' for each in "ab"),
    "operator-stranger,stranger,stranger",
)
PORTS = (2379, 2380, 5672, 6379, 6443)


@dataclass(frozen=True, slots=True)
class BareCluster(Cluster):
    """A cluster without nodes that needs neither root nor a network of its own."""

    folder: Path = Path()
    address_of_all: str = ""

    @property
    def gateway(self) -> str:
        return self.address_of_all

    @property
    def loopback(self) -> str:
        return self.address_of_all

    @property
    def directory(self) -> Path:
        return self.folder

    def client_context(self) -> ssl.SSLContext:
        """An administrator's certificate."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(str(self.pki / "admin.crt"), str(self.pki / "admin.key"))
        return context

    def client(self) -> httpx.Client:
        """An administrator's way to the API server, beside the fault proxy."""
        return httpx.Client(base_url=f"https://{self.api}", verify=self.client_context(), timeout=120)


def free_address() -> str:
    """A loopback address that nobody listens on."""
    while True:
        address = f"127.60.{random.randint(1, 250)}.{random.randint(1, 250)}"
        try:
            with ExitStack() as stack:
                for port in PORTS:
                    stack.enter_context(socket.socket()).bind((address, port))
        except OSError:
            continue
        return address


@contextmanager
def running(folder: Path, *, knows_stacks: bool = True) -> Iterator[BareCluster]:
    """The servers for as long as the block runs; ended by their own handles. The CRD may be left for later."""
    build_binaries(["etcd", "kube-apiserver", "kubectl"])
    cluster = BareCluster("bare", 0, (), folder=folder, address_of_all=free_address())
    for directory in (cluster.config, cluster.logs):
        directory.mkdir(parents=True)
    write_pki(cluster)
    write_json(cluster.config / "audit-policy.json", build_audit_policy())
    (cluster.config / "tokens.csv").write_text("\n".join(TOKENS))
    # A loopback address cannot be an endpoint of the Service `kubernetes`; nobody here asks for that Service.
    options = ["--endpoint-reconciler-type=none", f"--token-auth-file={cluster.config}/tokens.csv"]
    api_server = [*build_api_server(bin_directory(), cluster), *options]
    with ExitStack() as stack:
        stack.enter_context(process(build_etcd(bin_directory(), cluster), cluster.logs / "etcd.log"))
        started = stack.enter_context(process(api_server, cluster.logs / "kube-apiserver.log"))
        wait_until_ready(cluster, started)
        if knows_stacks:
            make_crd(cluster)
        yield cluster


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and with this test run whatever happens."""
    with log.open("wb") as sink:
        started = subprocess.Popen(DIE_WITH_PARENT + command, stdout=sink, stderr=sink)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def wait_until_ready(cluster: BareCluster, api_server: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    with cluster.client() as client:
        while time.monotonic() < give_up_at:
            assert api_server.poll() is None, (cluster.logs / "kube-apiserver.log").read_text()[-3000:]
            try:
                if client.get("/readyz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise TimeoutError(f"no API server within {PATIENCE_SECONDS} s; see {cluster.logs}")


def make_crd(cluster: BareCluster) -> None:
    """Install the AppStack kind and wait until it is served."""
    with cluster.client() as client:
        collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        answer = client.post(collection, json=yaml.safe_load(CRD.read_text()))
        assert answer.is_success, answer.text
        while client.get("/apis/appstack.dev/v1alpha1/appstacks").status_code != httpx.codes.OK:
            time.sleep(0.1)
