"""The operator is SIGKILLed at random moments while a real stack is made and changed: the end is as wanted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from appstack_lab.up import stack as deploy
from tests.chaos import processes
from tests.cluster.kit.kube import wait_until
from tests.cluster.kit.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appstack_lab.up.steps import Steps
    from tests.cluster.kit.kube import Kube, Object

HOME = "appstack-system"
_, NAMESPACE = deploy.TEST_NAMESPACES
HANG_LIMIT_SECONDS = 300
ONE = {"replicas": 1}
SPEC: dict[str, Any] = {
    "deletionPolicy": "Delete",
    "backend": {"api": ONE, "workers": [{"name": "bulk", "queues": ["bulk"], **ONE}]},
    "postgres": {"instances": 1, "storage": {"size": "1Gi"}},
    "redis": {**ONE, "sentinels": 1},
    "rabbitmq": ONE,
}
CHANGED: dict[str, Any] = {
    **SPEC,
    "backend": {
        "env": [{"name": "COLOUR", "value": "green"}],
        "api": {"replicas": 2},
        "workers": [{"name": "bulk", "queues": ["bulk"], **ONE}, {"name": "mail", "queues": ["notifications"], **ONE}],
    },
    "postgres": {**SPEC["postgres"], "parameters": {"work_mem": "7MB"}},
    "networkPolicy": {"enabled": False},
}


class Executioner:
    """Kills whoever holds the Lease, at moments that a seed decides."""

    def __init__(self, kube: Kube, seed: int, *, is_lab: bool) -> None:
        self.kube = kube
        self.is_lab = is_lab  # its processes are this machine's; those of kind's nodes are root's, or Docker's
        self.random = random.Random(seed)
        self.kills: list[str] = []
        self.former = ""  # the last one that was killed; its Lease goes on for a while

    def kill_within(self, seconds: float) -> None:
        """Wait for a random part of that time, then kill the operator that is at work then."""
        moment = self.random.uniform(0, seconds)
        time.sleep(moment)
        pod, self.former = self.at_work()
        name = pod["metadata"]["name"]
        if self.is_lab:
            wait_until(lambda: self.is_struck(name), f"{name} runs on this machine", HANG_LIMIT_SECONDS)
        else:
            self.kube.run("delete", "pod", name, "-n", HOME, "--grace-period=0", "--force")
        self.kills.append(f"{name} after {moment:.1f} s")

    def is_struck(self, name: str) -> bool:
        """Whether its processes got SIGKILL; of a container that has just been restarted the API may not know yet."""
        status = self.kube.get("pod", name, "-n", HOME)["status"]["containerStatuses"][0]
        container = status.get("containerID", "").rpartition("/")[2]
        return bool(container and processes.send(signal.SIGKILL, processes.pids_of([container])))

    def at_work(self) -> tuple[Object, str]:
        """The pod that holds the Lease, and the name of that process in it: it is not the one that was killed."""

        def found() -> tuple[Object, str] | None:
            lease = self.kube.get("lease", "appstack-operator", "-n", HOME)
            holder = lease["spec"].get("holderIdentity") or "-"
            pods = self.kube.items("pods", "-n", HOME, "-l", "app.kubernetes.io/name=appstack-operator")
            mine = [pod for pod in pods if holder.partition("_")[0] == pod["metadata"]["name"]]
            return (mine[0], holder) if mine and holder != self.former else None

        at_work = wait_until(found, "an operator is at work", HANG_LIMIT_SECONDS)
        assert at_work is not None
        return at_work


@pytest.fixture
def struck(kube: Kube, operator: None, steps: Steps) -> Iterator[Stack]:
    """A small stack that is still to be created."""
    with steps.step("namespace", "namespace", "see the log"):
        deploy.ensure_namespace(steps, NAMESPACE)
    yield Stack(kube, NAMESPACE, "struck")
    kube.run("delete", "appstack", "--all", "-n", NAMESPACE, f"--timeout={HANG_LIMIT_SECONDS}s")
    kube.run("delete", "namespace", NAMESPACE, "--wait=false")


def manifest(spec: dict[str, Any]) -> str:
    return json.dumps(
        {"apiVersion": "appstack.dev/v1alpha1", "kind": "AppStack", "metadata": {"name": "struck"}, "spec": spec}
    )


def what_is_left_to_do(kube: Kube, spec: dict[str, Any]) -> str:
    """What the operator's own plan would change in what is there; empty where all is as wanted."""
    command = [str(Path(sys.executable).parent / "kubectl-appstack"), "plan", "-f", "-", "-n", NAMESPACE]
    done = subprocess.run(command, env=kube.env, input=manifest(spec), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stdout}{done.stderr}"


def passwords(kube: Kube) -> dict[str, Any]:
    secrets = kube.items("secrets", "-n", NAMESPACE)
    return {each["metadata"]["name"]: each["data"] for each in secrets if not each["metadata"].get("ownerReferences")}


def test_the_end_is_as_wanted_whenever_the_operator_is_killed(struck: Stack, kube: Kube, cluster_kind: str) -> None:
    seed = int(os.environ.get("APPSTACK_SEED") or random.SystemRandom().randrange(10**6))
    executioner = Executioner(kube, seed, is_lab=cluster_kind == "lab")
    try:
        kube.run("apply", "-n", NAMESPACE, "-f", "-", stdin=manifest(SPEC))
        executioner.kill_within(4)  # objects are being created
        executioner.kill_within(10)  # its successor, while services come up
        struck.wait_until_settled()
        assert what_is_left_to_do(kube, SPEC) == ""
        first = passwords(kube)
        assert first

        kube.run("apply", "-n", NAMESPACE, "-f", "-", stdin=manifest(CHANGED))
        executioner.kill_within(3)
        struck.wait_until_settled()
        assert what_is_left_to_do(kube, CHANGED) == ""
        assert passwords(kube) == first, "a password was made twice"
        data = [pod for part in ("postgres", "redis", "rabbitmq") for pod in struck.pods(part)]
        restarted = [pod["metadata"]["name"] for pod in data if pod["status"]["containerStatuses"][0]["restartCount"]]
        assert restarted == [], "the operator's end restarts nobody"
    finally:
        print(f"APPSTACK_SEED={seed}: killed {', '.join(executioner.kills) or 'nobody'}")
