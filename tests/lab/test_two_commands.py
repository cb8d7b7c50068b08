"""What the README promises of `make up` and `make down`, with a whole stack, and of `make run-operator`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import LabCluster, eventually, run
from .traces import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

ROOT = Path(__file__).resolve().parents[2]
NAME = "lab-whole"
HANG = 1800  # seconds; an aim of 3 minutes when everything is built
SHOP, API, LABEL = ("-n", "shop"), "deployment/shop-api", "appstack.dev/component"


def command_of(target: str) -> list[str]:
    return ["make", "--no-print-directory", "-C", str(ROOT), target, f"KIND_NAME={NAME}"]


def make(target: str) -> str:
    return run(*command_of(target), timeout=HANG).stdout


@pytest.fixture
def whole() -> Iterator[LabCluster]:
    made = LabCluster(NAME, ROOT / "build" / "clusters" / NAME / "kubeconfig")
    make("down")
    yield made
    make("down")


def lasting_pods(cluster: LabCluster) -> set[str]:
    """The pods of the stack but those of jobs: which they are, and how often each was started again."""
    found = json.loads(cluster.kubectl("-n", "shop", "get", "pods", "-l", "appstack.dev/stack=shop", "-o", "json"))
    lasting = (pod for pod in found["items"] if pod["metadata"]["ownerReferences"][0]["kind"] != "Job")
    return {" ".join([pod["metadata"]["name"], pod["metadata"]["uid"], *restarts(pod)]) for pod in lasting}


def restarts(pod: dict[str, Any]) -> list[str]:
    return [f"{container['name']}={container['restartCount']}" for container in pod["status"]["containerStatuses"]]


def operator_pods(cluster: LabCluster) -> list[str]:
    return cluster.kubectl("-n", "appstack-system", "get", "pods", "-o", "name").split()


def change_a_label(cluster: LabCluster) -> None:
    cluster.kubectl(*SHOP, "label", API, f"{LABEL}=changed-by-hand", "--overwrite")


def label_of_the_api(cluster: LabCluster) -> str:
    labels = json.loads(cluster.kubectl(*SHOP, "get", API, "-o", "json"))["metadata"]["labels"]
    return str(labels.get(LABEL))


def wait_for_the_repair(cluster: LabCluster) -> None:
    eventually("the repair of a label", lambda: label_of_the_api(cluster) == "api", seconds=120)


def test_a_stack_comes_up_a_second_make_up_harms_nothing_and_make_down_leaves_nothing(
    whole: LabCluster, record_property: Callable[[str, object], None]
) -> None:
    traces = Traces(NAME)
    before = traces.seen()
    begun = time.monotonic()
    said = make("up")
    first = time.monotonic() - begun
    assert "The demo sent 20000 products: 20000 imported, 0 rejected" in said
    assert re.search(r"^shop +True +True +Healthy ", said, re.MULTILINE), said
    there = lasting_pods(whole)
    assert len(there) >= 12

    begun = time.monotonic()
    assert "running already" in make("up")
    record_property("measured", f"make up {first:.0f} s, again {time.monotonic() - begun:.0f} s")
    assert lasting_pods(whole) == there

    during = traces.seen()
    assert all(during[kind] - before[kind] for kind in ("processes", "mounts", "namespaces", "links", "routes"))
    make("down")
    assert traces.stay_since(before) == []


@contextlib.contextmanager
def operator_in_a_shell(log: Path) -> Iterator[None]:
    """`make run-operator`, ended by Ctrl-C."""
    # Whoever runs the tests in the background has them ignore Ctrl-C.
    command = ["env", "--default-signal=INT", *command_of("run-operator")]
    with log.open("w") as said:
        shell = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        eventually("the operator in the shell", lambda: "The operator runs here now" in log.read_text())
        yield
    finally:
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(timeout=120)


def test_the_operator_in_a_shell_takes_over_and_gives_back(whole: LabCluster, tmp_path: Path) -> None:
    make("up")
    with operator_in_a_shell(tmp_path / "operator.log"):
        eventually("the end of the operator's pods", lambda: not operator_pods(whole))
        change_a_label(whole)
        wait_for_the_repair(whole)
    make("up")
    assert operator_pods(whole)
    change_a_label(whole)
    wait_for_the_repair(whole)
