"""From nothing, through a sudden death, back to nothing: a cluster leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from appstack_lab.network import NAMESPACES

from .conftest import LAB, PODS, LabCluster, commands_with, run
from .traces import Traces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)

NAME = "lab-life"
MARKER = "lab-life-marker"  # in the command of every container of this test
TRACES = Traces(NAME, MARKER)


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
    said, _ = process.communicate(timeout=300)
    return said


def finished(process: subprocess.Popen[str]) -> str:
    """Wait until it has succeeded; return what it said."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def have_it_as_a_fresh_machine() -> None:
    """`ip netns` makes its directory a mount, which stays; a machine on which nobody used it has neither."""
    if NAMESPACES.is_mount() and not any(NAMESPACES.iterdir()):
        run("umount", NAMESPACES)


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[LabCluster]:
    made = LabCluster(NAME, tmp_path / "kubeconfig", ("--nodes", "1", "--volume-size", "64Mi"))
    made.delete()
    have_it_as_a_fresh_machine()
    yield made
    made.delete()


def test_it_comes_back_from_a_sudden_death_and_leaves_nothing(short_lived: LabCluster, tmp_path: Path) -> None:
    before = TRACES.seen()
    short_lived.create()
    pods = tmp_path / "pods.yaml"
    pods.write_text(PODS.read_text().replace("lab-test-marker", MARKER))
    short_lived.kubectl("apply", "-f", str(pods))
    short_lived.kubectl("wait", "--for=condition=Ready", "pod/box-0", "--timeout=240s")
    assert len(TRACES.processes()) > 8 and commands_with(MARKER)

    (supervisor,) = commands_with(f"appstack_lab.supervisor /var/lib/appstack-lab/{NAME}/")
    os.kill(supervisor, signal.SIGKILL)
    assert NAME not in run(LAB, "get", "clusters").stdout.splitlines()
    short_lived.create()
    assert short_lived.status()["nodes"][0]["ready"]
    assert "box" not in short_lived.kubectl("get", "pods")
    assert short_lived.kubeconfig.read_text().count(f"name: kind-{NAME}\n") == 3

    during = TRACES.seen()
    assert all(during[kind] - before[kind] for kind in ("processes", "mounts", "namespaces", "links", "routes"))
    short_lived.delete()
    assert TRACES.left_since(before) == []
    assert NAME not in short_lived.kubeconfig.read_text()


def test_an_interrupted_make_up_is_repeated_a_second_one_is_quick_and_make_down_leaves_nothing(
    short_lived: LabCluster,
) -> None:
    before = TRACES.seen()
    for stage in ("start the control plane …", "wait for the nodes …"):
        interrupted = make_up(short_lived, "cluster")
        said = interrupt_at(stage, interrupted)
        assert interrupted.returncode == 130
        assert "Run the same command again" in said
        assert NAME not in run(LAB, "get", "clusters").stdout.splitlines()
    begun = time.monotonic()
    assert "clear away what is left" in finished(make_up(short_lived, "cluster"))
    first = time.monotonic() - begun
    assert [node["ready"] for node in short_lived.status()["nodes"]] == [True]

    server = short_lived.process("kube-apiserver")["pid"]
    begun = time.monotonic()
    assert "running already" in finished(make_up(short_lived, "cluster"))
    assert time.monotonic() - begun < max(first, 15), "less than it takes to make one"
    assert short_lived.process("kube-apiserver")["pid"] == server

    finished(make_up(short_lived, "down"))
    assert TRACES.left_since(before) == []
    assert f"there is no cluster {NAME}" in finished(make_up(short_lived, "down"))
