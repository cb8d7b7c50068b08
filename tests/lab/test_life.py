"""From nothing, through a sudden death, back to nothing: a cluster leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from appstack_lab import paths
from appstack_lab.cgroups import hierarchies
from appstack_lab.state import known_clusters
from tests.backend.kit import service

from .conftest import LAB, PODS, LabCluster, commands_with, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appstack_lab.cluster import Cluster

pytestmark = pytest.mark.timeout(900)

NAME = "lab-life"
MARKER = "lab-life-marker"  # in the command of every container of this test
PLACES = ("/run/appstack-lab", "/run/containerd/s", "/var/lib/appstack-lab", "/var/lib/cni", "/var/lib/kubelet")


def processes() -> set[str]:
    """Commands that work for a cluster of this name, or are a container of the test."""
    found = commands_with(f"/{NAME}/") | commands_with(MARKER)
    return set(found.values())


def traces() -> dict[str, set[str]]:
    """What a cluster could leave on this machine."""
    groups = {str(path) for root in hierarchies() for path in root.glob("appstack-lab/*")}
    roots = {str(path) for root in hierarchies() for path in root.glob("appstack-lab")}
    return {
        "processes": processes(),
        "mounts": set(Path("/proc/mounts").read_text().splitlines()),
        "namespaces": {path.name for path in Path("/run/netns").glob("*")},
        "links": {path.name for path in Path("/sys/class/net").iterdir()},
        "routes": set(run("ip", "-4", "route").stdout.splitlines()),
        "tables": set(run("nft", "list", "tables").stdout.splitlines()),
        "control groups": groups | roots,
        "loop devices": set(run("losetup", "--list", "--noheadings", "--output", "BACK-FILE").stdout.splitlines()),
        "locks": {str(path) for path in paths.LOCKS.glob(f"{NAME}.*")},
        "files": {str(path) for place in PLACES for path in [Path(place), *Path(place).glob("*")] if path.exists()},
    }


def belongs_to_others(trace: str) -> bool:
    """Tell whether another cluster, whose life goes on meanwhile, or a test of the backend made a trace."""
    if trace.startswith(f"table ip {service.TABLE}"):
        return True
    others = [cluster for cluster in known_clusters() if cluster.name not in (NAME, "lab-test")]
    shared = ("/appstack-lab", "/sysctls.json", "/var/lib/cni", "/var/lib/kubelet")
    return any(mark in trace for cluster in others for mark in marks_of(cluster)) or (
        bool(known_clusters()) and trace.endswith(shared)
    )


def marks_of(cluster: Cluster) -> tuple[str, ...]:
    network, pods, services = (
        text.rsplit(".", 2)[0] + "." for text in (f"{cluster.gateway}.0", cluster.pod_range, cluster.service_range)
    )
    return (f"lab-{cluster.name}-", f"appstack-lab/{cluster.name}", cluster.link, network, pods, services)


def left_behind(before: dict[str, set[str]]) -> list[str]:
    """What is there now and was not before, other clusters aside."""
    after = traces()
    return [one for kind in after for one in after[kind] - before[kind] if not belongs_to_others(one)]


def make_up(cluster: LabCluster, command: str) -> subprocess.Popen[str]:
    """Begin what `make up` and `make down` do to a cluster, of one node, in a process group of its own."""
    words = ["--name", cluster.name, "--kubeconfig", str(cluster.kubeconfig), "--nodes", "1", command]
    return subprocess.Popen(
        # Whoever runs the tests in the background has them ignore Ctrl-C.
        ["env", "--default-signal=INT", sys.executable, "-m", "appstack_lab.up", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def interrupt_at(stage: str, process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C when a stage begins; return what was said afterwards."""
    assert process.stdout is not None
    assert any(stage in line for line in process.stdout), f"{stage} never began"
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    return said


def finished(process: subprocess.Popen[str]) -> str:
    """Wait until it has succeeded; return what it said."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[LabCluster]:
    made = LabCluster(NAME, tmp_path / "kubeconfig", ("--nodes", "1", "--volume-size", "64Mi"))
    made.delete()
    yield made
    made.delete()


def test_it_comes_back_from_a_sudden_death_and_leaves_nothing(short_lived: LabCluster, tmp_path: Path) -> None:
    before = traces()
    short_lived.create()
    pods = tmp_path / "pods.yaml"
    pods.write_text(PODS.read_text().replace("lab-test-marker", MARKER))
    short_lived.kubectl("apply", "-f", str(pods))
    short_lived.kubectl("wait", "--for=condition=Ready", "pod/box-0", "--timeout=60s")
    assert len(processes()) > 8 and commands_with(MARKER)

    (supervisor,) = commands_with(f"appstack_lab.supervisor /var/lib/appstack-lab/{NAME}/")
    os.kill(supervisor, signal.SIGKILL)
    assert NAME not in run(LAB, "get", "clusters").stdout.splitlines()
    short_lived.create()
    assert short_lived.status()["nodes"][0]["ready"]
    assert "box" not in short_lived.kubectl("get", "pods")
    assert short_lived.kubeconfig.read_text().count(f"name: kind-{NAME}\n") == 3

    during = traces()
    assert all(during[kind] - before[kind] for kind in ("processes", "mounts", "namespaces", "links", "routes"))
    short_lived.delete()
    assert left_behind(before) == []
    assert NAME not in short_lived.kubeconfig.read_text()


def test_an_interrupted_make_up_is_repeated_a_second_one_is_quick_and_make_down_leaves_nothing(
    short_lived: LabCluster,
) -> None:
    before = traces()
    for stage in ("start the control plane …", "wait for the nodes …"):
        interrupted = make_up(short_lived, "cluster")
        said = interrupt_at(stage, interrupted)
        assert interrupted.returncode == 130
        assert "Run the same command again" in said
        assert NAME not in run(LAB, "get", "clusters").stdout.splitlines()
    assert "clear away what is left" in finished(make_up(short_lived, "cluster"))
    assert [node["ready"] for node in short_lived.status()["nodes"]] == [True]

    server = short_lived.process("kube-apiserver")["pid"]
    begun = time.monotonic()
    assert "running already" in finished(make_up(short_lived, "cluster"))
    assert time.monotonic() - begun < 15
    assert short_lived.process("kube-apiserver")["pid"] == server

    finished(make_up(short_lived, "down"))
    assert left_behind(before) == []
    assert f"there is no cluster {NAME}" in finished(make_up(short_lived, "down"))
