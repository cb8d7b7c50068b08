"""A cluster that comes, dies suddenly, comes back and goes: it leaves nothing behind, and another one alone."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import LAB, PODS, SHORT_LIVED, commands_with, eventually, run
from .traces import Traces

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import LabCluster

pytestmark = pytest.mark.timeout(900)

NAME = SHORT_LIVED
MARKER = "lab-life-marker"  # in the command of every container of this test
SUPERVISOR = f"appstack_lab.supervisor /var/lib/appstack-lab/{NAME}/"
TRACES = Traces(NAME, MARKER)


def the_supervisor() -> int:
    """The process alone, not another that it is just about to become; 0 while there are two."""
    found = list(commands_with(SUPERVISOR))
    return found[0] if len(found) == 1 else 0


def lasting(cluster: LabCluster) -> dict[str, Any]:
    """What no other cluster's life may change: what this one has stored, who stores and serves it, its nodes."""
    pids = {name: cluster.process(name)["pid"] for name in ("etcd", "kube-apiserver", "node1", "node2")}
    pods = json.loads(cluster.kubectl("get", "pods", "-l", "app=box", "-o", "json"))["items"]
    return pids | {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}


def test_it_comes_back_from_a_sudden_death_and_leaves_nothing_but_the_other_one(
    short_lived: LabCluster, cluster: LabCluster, tmp_path: Path
) -> None:
    before, beside = TRACES.seen(), lasting(cluster)
    short_lived.create()
    pods = tmp_path / "pods.yaml"
    # It has one node: of two pods the second, should it be placed first, would keep the first one waiting for ever.
    both = PODS.read_text().replace("lab-test-marker", MARKER)
    assert both.count("replicas: 2") == 1
    pods.write_text(both.replace("replicas: 2", "replicas: 1"))
    short_lived.kubectl("apply", "-f", str(pods))
    short_lived.wait("condition=Ready", "box-0")
    assert len(TRACES.processes()) > 8 and commands_with(MARKER)

    os.kill(eventually("one supervisor", the_supervisor), signal.SIGKILL)
    eventually("its end", lambda: not commands_with(SUPERVISOR))
    assert NAME not in run(LAB, "get", "clusters").stdout.splitlines()
    short_lived.create()
    assert short_lived.status()["nodes"][0]["ready"]
    assert "box" not in short_lived.kubectl("get", "pods")
    assert short_lived.kubeconfig.read_text().count(f"name: kind-{NAME}\n") == 3

    during = TRACES.seen()
    assert all(during[kind] - before[kind] for kind in ("processes", "mounts", "namespaces", "links", "routes"))
    short_lived.delete()
    assert TRACES.stay_since(before) == []
    assert NAME not in short_lived.kubeconfig.read_text()
    assert lasting(cluster) == beside
