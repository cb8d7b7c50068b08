"""`make up` and `make down` of the only cluster: this file comes first, before the other tests have one that stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from .conftest import AGAIN_SECONDS, LAB, SHORT_LIVED, run
from .traces import Traces

if TYPE_CHECKING:
    from .conftest import LabCluster

pytestmark = pytest.mark.timeout(1800)  # a machine that has no binaries yet builds them first

NAME = SHORT_LIVED
TRACES = Traces(NAME)


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
    assert time.monotonic() - begun < max(first, AGAIN_SECONDS), "less than it takes to make one"
    assert short_lived.process("kube-apiserver")["pid"] == server

    finished(make_up(short_lived, "down"))
    assert TRACES.stay_since(before) == []
    assert f"there is no cluster {NAME}" in finished(make_up(short_lived, "down"))
