"""The chart's rights on the bare API server, and operator processes that can be stopped and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory
from appstack_lab.node import DIE_WITH_PARENT
from tests.apiserver.kit.server import ACCOUNT
from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.apiserver.kit.server import BareCluster

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "appstack-system"
WATCHED = ("killed", "frozen", "stopped", "quiet")
CHART = ROOT / "charts" / "appstack-operator"
IMAGES = ("operator", "backend", "postgres", "redis", "rabbitmq")


def wait_until(question: Callable[[], Any], what: str, limit_seconds: float) -> float:
    """The seconds until the answer was truthy."""
    begun = time.monotonic()
    while not question():
        assert time.monotonic() - begun < limit_seconds, f"not within {limit_seconds} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - begun


@dataclass(frozen=True)
class Write:
    """One line of the audit log."""

    process: str
    resource: str
    at: datetime


@dataclass
class Cluster:
    """An API server without anything behind it: what one writes, nobody else touches."""

    directory: Path
    bin: Path
    server: str
    logs: Path
    begun: int  # where the audit log ended when the first of these tests began
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kubeconfig(self, token: str) -> Path:
        """Files of different processes have different tokens, for one and the same service account."""
        path = self.directory / f"{token}.kubeconfig"
        cluster = {"server": self.server, "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl as an administrator."""
        command = [str(self.bin / "kubectl"), f"--kubeconfig={self.kubeconfig('admin')}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def holder(self) -> str:
        """Who holds the Lease."""
        leases = json.loads(self.kubectl("get", "leases", "-n", NAMESPACE, "-o", "json"))["items"]
        return next((str(each["spec"].get("holderIdentity", "")) for each in leases), "")

    def start(self, name: str, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """Start a process that ends with the test session, also with a killed one."""
        with (self.directory / f"{name}.log").open("ab") as log:
            command = [*DIE_WITH_PARENT, *command]
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        self.processes.append(process)
        return process

    def writes(self) -> list[Write]:
        """What operator processes wrote, beside the Lease, in the order of arrival."""
        return [each for each in self.all_writes() if each.resource != "leases"]

    def renewals(self) -> int:
        """How often operator processes wrote the Lease."""
        return sum(each.resource == "leases" for each in self.all_writes())

    def all_writes(self) -> list[Write]:
        """What operator processes wrote, in the order of arrival."""
        with (self.logs / "audit.log").open() as audit:
            audit.seek(self.begun)
            lines = audit.read().splitlines()
        events = [json.loads(line) for line in lines if line.endswith("}")]
        found = [
            Write(each["user"]["uid"], each["objectRef"]["resource"], datetime.fromisoformat(each[RECEIVED]))
            for each in events
            if each["user"]["username"] == ACCOUNT
        ]
        return sorted(found, key=lambda each: each.at)


RECEIVED = "requestReceivedTimestamp"


def install(cluster: Cluster) -> None:
    """The CRD and the chart: the rights are the real ones.

    Without its Deployment: nothing here starts pods, and `kubectl appstack` of later tests would take it for the
    operator of every stack, and its images for what that wants.
    """
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    cluster.kubectl("create", "namespace", NAMESPACE)
    values = [word for name in IMAGES for word in ("--set", f"images.{name}=appstack.dev/{name}:1")]
    command = [str(cluster.bin / "helm"), "template", "appstack-operator", str(CHART), "-n", NAMESPACE, *values]
    rendered = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    kept = [each for each in yaml.safe_load_all(rendered) if each and each["kind"] != "Deployment"]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(kept))
    cluster.kubectl("wait", "--for=condition=Established", "crd/appstacks.appstack.dev", "--timeout=120s")


@pytest.fixture(scope="session")
def cluster(bare_cluster: BareCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The API server of all tests without nodes, with the chart's rights."""
    server, logs = f"https://{bare_cluster.api}", bare_cluster.logs
    begun = (logs / "audit.log").stat().st_size
    made = Cluster(tmp_path_factory.mktemp("lease"), bin_directory(), server, logs, begun)
    try:
        install(made)
        yield made
    finally:
        for process in reversed(made.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


@dataclass
class OperatorProcess:
    """A real operator process, by the name of its token."""

    cluster: Cluster
    name: str
    health_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, as the image does."""
        environment = {f"APPSTACK_IMAGE_{name.upper()}": f"appstack.dev/{name}:1" for name in IMAGES[1:]}
        environment |= {
            "KUBECONFIG": str(self.cluster.kubeconfig(f"operator-{self.name}")),
            "APPSTACK_LEASE_NAMESPACE": NAMESPACE,
            "APPSTACK_WATCH_NAMESPACES": ",".join(WATCHED),  # stacks of other tests are none of its business
            "APPSTACK_HEALTH_PORT": str(self.health_port),
            "APPSTACK_METRICS_PORT": str(self.metrics_port),
        }
        command = [sys.executable, "-m", "appstack_operator.main", "run"]
        self.process = self.cluster.start(f"operator-{self.name}", command, **environment)

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self.process is not None
        return self.process

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.running.send_signal(number)

    def probe(self, path: str) -> int:
        """What the kubelet would be answered; 0: nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def is_leader(self) -> bool:
        """What Prometheus is told."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            return "appstack_is_leader 1.0" in answer.read().decode()

    def log(self) -> str:
        """All that processes of this name ever logged."""
        return (self.cluster.directory / f"operator-{self.name}.log").read_text()


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """The holder, which has something to do all the time, and a candidate."""
    first, second = OperatorProcess(cluster, "a"), OperatorProcess(cluster, "b")
    first.start()
    wait_until(lambda: first.probe("/readyz") == 200 and first.is_leader(), "the first one holds the Lease", 120)
    second.start()
    wait_until(lambda: second.probe("/readyz") == 200, "the second one stands by", 120)
    yield first, second
    for each in (first, second):
        if each.running.poll() is None:
            each.send(signal.SIGCONT)
            each.running.kill()
            each.running.wait()
    # The next test starts without a Lease, and nobody is left who could miss it.
    cluster.kubectl("delete", "leases", "--all", "-n", NAMESPACE)
