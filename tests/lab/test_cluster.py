"""What a cluster of the lab can do, on a real one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from appstack_lab import images
from appstack_lab.state import require_cluster

from .conftest import AGAIN_SECONDS, LAB, eventually, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import LabCluster

pytestmark = pytest.mark.timeout(1800)  # a machine that has no binaries yet builds them first

SERVICE = "box.default.svc.cluster.local"
BOXES = {"box-0", "box-1"}
CALL = (
    "my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 10) or die qq(no answer: $!\\n); print scalar <$s>"
)


def call_from_pod(cluster: LabCluster, pod: str, address: str) -> str:
    """Open a connection from inside a pod and return the line it answers with; empty for no answer."""
    return cluster.kubectl("exec", pod, "--", "perl", "-MIO::Socket::INET", "-e", CALL, address, check=False).strip()


def call_from_machine(address: str, port: int = 80) -> str:
    """The same from this machine."""
    try:
        with socket.create_connection((address, port), timeout=10) as connection:
            return connection.makefile().readline().strip()
    except OSError:
        return ""


def who_answers(call: Callable[[], str], wanted: set[str]) -> set[str]:
    """Whoever a Service leads to, each time one of them by chance: call until all who are wanted have answered.

    A pod that was just made anew may be out of reach for a moment.
    """
    answers: set[str] = set()

    def all_have_answered() -> bool:
        answers.update({call()} - {""})
        return answers >= wanted

    eventually(f"an answer of {', '.join(sorted(wanted))}", all_have_answered)
    return answers


def identity(cluster: LabCluster) -> str:
    """Return what every cluster has and no other: one made anew has another."""
    return cluster.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")


@contextlib.contextmanager
def frozen(pid: int, seconds: float) -> Iterator[threading.Event]:
    """Freeze a process for some seconds, or until the block ends; the event tells that it thawed."""
    thawed = threading.Event()

    def thaw() -> None:
        thawed.set()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(seconds, thaw)
    timer.start()
    try:
        yield thawed
    finally:
        timer.cancel()
        thaw()


def test_it_is_well(cluster: LabCluster) -> None:
    done = cluster.lab("status")
    assert "well" in done.stdout and "v1.36.4" in done.stdout
    assert [node["ready"] for node in cluster.status()["nodes"]] == [True, True]


def test_only_root_can_read_its_keys(cluster: LabCluster) -> None:
    directory = require_cluster(cluster.name).directory
    keys = [*directory.glob("config/*.kubeconfig"), *directory.glob("nodes/*/kubeconfig")]
    assert len(keys) > 2
    assert [key for key in keys if is_open(key) and is_open(key.parent)] == []


@pytest.mark.parametrize("name", ["kube-controller-manager", "kube-scheduler"])
def test_who_decides_for_all_holds_a_lease_and_so_ends_when_it_cannot_know_what_others_do(
    cluster: LabCluster, name: str
) -> None:
    """One that went on through an outage of the API server took every node for lost afterwards."""
    holder = cluster.kubectl("get", "lease", "-n", "kube-system", name, "-o", "jsonpath={.spec.holderIdentity}")
    assert holder


def is_open(path: Path) -> bool:
    return path.stat().st_mode & 0o077 != 0


def test_creating_it_again_is_quick_and_changes_nothing(cluster: LabCluster) -> None:
    before = cluster.process("kube-apiserver")["pid"]
    start = time.monotonic()
    done = cluster.create()
    assert time.monotonic() - start < AGAIN_SECONDS, "less than it takes to make one"
    assert "running already" in done.stderr
    assert cluster.process("kube-apiserver")["pid"] == before


def test_creating_it_again_waits_for_an_api_server_that_hangs(cluster: LabCluster) -> None:
    before = identity(cluster)
    with frozen(cluster.process("kube-apiserver")["pid"], seconds=10) as thawed:
        done = cluster.create()
        assert thawed.is_set()
    assert "running already" in done.stderr
    assert identity(cluster) == before


def test_a_cluster_whose_api_server_never_answers_is_kept(cluster: LabCluster) -> None:
    before = identity(cluster)
    with frozen(cluster.process("kube-apiserver")["pid"], seconds=600):  # until the command has given up
        again = ("create", "cluster", "--kubeconfig", str(cluster.kubeconfig), *cluster.options, "--wait", "1s")
        done = cluster.lab(*again, check=False)
    assert done.returncode == 1
    assert f"lab status --name {cluster.name}" in done.stderr
    assert f"lab delete cluster --name {cluster.name}" in done.stderr
    assert identity(cluster) == before


def test_another_shape_under_the_same_name_is_refused(cluster: LabCluster) -> None:
    done = cluster.lab("create", "cluster", "--nodes", "1", "--kubeconfig", str(cluster.kubeconfig), check=False)
    assert done.returncode == 1
    assert "exists with 2 nodes" in done.stderr


def test_it_speaks_as_kind_does(cluster: LabCluster) -> None:
    assert cluster.name in run(LAB, "get", "clusters").stdout.splitlines()
    assert f"kind-{cluster.name}" in cluster.kubectl("config", "get-contexts", "-o", "name")
    printed = yaml.safe_load(cluster.lab("get", "kubeconfig").stdout)
    assert printed["current-context"] == f"kind-{cluster.name}"


def test_nodes_tell_where_they_are(cluster: LabCluster) -> None:
    zones = cluster.kubectl("get", "nodes", "-o", r"jsonpath={.items[*].metadata.labels.topology\.kubernetes\.io/zone}")
    assert zones.split() == ["zone-1", "zone-2"]


def test_a_volume_outlives_its_pod(cluster: LabCluster) -> None:
    cluster.kubectl("exec", "box-0", "--", "sh", "-c", "echo kept > /data/file")
    cluster.kubectl("delete", "pod", "box-0", "--now")
    cluster.kubectl("rollout", "status", "statefulset/box", "--timeout=240s")
    assert cluster.kubectl("exec", "box-0", "--", "cat", "/data/file").strip() == "kept"


def test_a_full_disk_is_that_nodes_alone(cluster: LabCluster) -> None:
    full, other = cluster.pod_on("node1"), cluster.pod_on("node2")
    write = "head -c 1M /dev/zero > /data/more && echo written || echo refused"
    cluster.kubectl("exec", full, "--", "sh", "-c", "head -c 200M /dev/zero > /data/big", check=False)
    assert "refused" in cluster.kubectl("exec", full, "--", "sh", "-c", write)
    assert "written" in cluster.kubectl("exec", other, "--", "sh", "-c", write)
    cluster.kubectl("exec", full, "--", "rm", "-f", "/data/big", "/data/more")


def test_pods_find_services_by_name(cluster: LabCluster) -> None:
    assert who_answers(lambda: call_from_pod(cluster, "box-0", f"{SERVICE}:80"), BOXES) == BOXES


def test_the_machine_reaches_pods_and_services(cluster: LabCluster) -> None:
    pod = cluster.kubectl("get", "pod", "box-1", "-o", "jsonpath={.status.podIP}")
    service = cluster.kubectl("get", "service", "box", "-o", "jsonpath={.spec.clusterIP}")
    assert who_answers(lambda: call_from_machine(pod), {"box-1"}) == {"box-1"}
    assert who_answers(lambda: call_from_machine(service), BOXES) == BOXES


class Greeter(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"the machine\n")


@contextlib.contextmanager
def answering_machine(address: str) -> Iterator[int]:
    """Let this machine answer at all its addresses, for a while also at one that it does not have; return the port."""
    run("ip", "address", "replace", f"{address}/32", "dev", "lo")
    try:
        with socketserver.ThreadingTCPServer(("", 0), Greeter) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server.server_address[1]
            server.shutdown()
    finally:
        run("ip", "address", "delete", f"{address}/32", "dev", "lo")


def test_nothing_in_it_reaches_the_world(cluster: LabCluster) -> None:
    """Where no route leads, nobody answers: so the world is an address that answers at the end of any route."""
    world = "198.51.100.1"
    with answering_machine(world) as port:
        gateway, machine = require_cluster(cluster.name).gateway, {"the machine"}
        assert who_answers(lambda: call_from_machine(world, port), machine) == machine
        assert who_answers(lambda: call_from_pod(cluster, "box-0", f"{gateway}:{port}"), machine) == machine
        done = cluster.kubectl(
            "exec", "box-0", "--", "sh", "-c",
            f"perl -MIO::Socket::INET -e '{CALL}' {world}:{port} 2>&1; echo",
            check=False,
        )  # fmt: skip
        assert "no answer" in done


def test_usage_is_measured(cluster: LabCluster) -> None:
    eventually(
        "kubectl top nodes", lambda: cluster.kubectl("top", "nodes", "--no-headers", check=False).count("node") == 2
    )
    eventually("kubectl top pods", lambda: "box-1" in cluster.kubectl("top", "pods", "--no-headers", check=False))


def test_an_autoscaler_reads_the_load_and_scales_by_it(cluster: LabCluster) -> None:
    busy = {
        "name": "busy", "image": images.BASE, "imagePullPolicy": "Never", "command": ["perl", "-e", "1 while 1"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "50m", "memory": "64Mi"}},
    }  # fmt: skip
    labels = {"app": "busy"}
    pod = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [busy]}}
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
    }  # fmt: skip
    try:
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(deployment))
        cluster.kubectl("autoscale", "deployment", "busy", "--min=1", "--max=2", "--cpu=50%")

        def scales_by_what_it_reads() -> bool:
            """Now and then it cannot read a load, and says so for a moment."""
            status = json.loads(cluster.kubectl("get", "hpa", "busy", "-o", "json")).get("status", {})
            current = [each.get("resource", {}).get("current", {}) for each in status.get("currentMetrics") or ()]
            conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
            loads = [each.get("averageUtilization", 0) for each in current]
            is_active = conditions.get("ScalingActive") == "True"
            return is_active and status.get("desiredReplicas") == 2 and len(loads) == 1 and loads[0] > 50

        eventually("two replicas are wanted for the load that it reads", scales_by_what_it_reads)
    finally:
        cluster.kubectl("delete", "hpa,deployment", "busy", "--ignore-not-found", "--now")


def test_a_killed_component_comes_back(cluster: LabCluster) -> None:
    before = cluster.process("kube-scheduler")
    os.kill(before["pid"], signal.SIGKILL)
    eventually("a new scheduler", lambda: cluster.process("kube-scheduler")["pid"] not in (0, before["pid"]))
    assert "lab: ended: signal 9" in cluster.lab("logs", "kube-scheduler").stdout
