"""kubectl for tests: JSON in and out, port-forwards, and what a person needs when something failed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tests.waits import answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_kind import KindCluster

Object = dict[str, Any]

WORTH_SEEING = (
    ("get", "appstack", "-o", "yaml"),
    ("get", "pods,pvc,jobs,svc,endpointslices", "-o", "wide"),
    ("get", "events", "--sort-by=.lastTimestamp"),
)
# Of all its pods: only the one that holds the Lease has much to say.
OPERATOR_LOGS = ("logs", "-l", "app.kubernetes.io/name=appstack-operator", "--prefix", "--tail=60")
WAY_SECONDS = 120.0  # a limit for hangs


class KubectlFailed(AssertionError):
    """kubectl did not succeed; the message is what it said."""


class Kube:
    """One cluster, seen through its kubectl."""

    def __init__(self, cluster: KindCluster) -> None:
        self.cluster = cluster
        self.kubectl_path = str(cluster.kubectl_path)
        self.kubeconfig: Path = cluster.kubeconfig_path.resolve()
        self.env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def run(self, *words: str, stdin: str | None = None) -> str:
        """kubectl WORDS; its standard output. Raises KubectlFailed."""
        done = subprocess.run(
            [self.kubectl_path, *words], env=self.env, input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *words: str) -> Object:
        """kubectl get WORDS -o json."""
        found: Object = json.loads(self.run("get", *words, "-o", "json"))
        return found

    def items(self, *words: str) -> list[Object]:
        """kubectl get WORDS -o json, its list."""
        found: list[Object] = self.get(*words)["items"]
        return found

    def allows(self, user: str, verb: str, resource: str) -> bool:
        """What `kubectl auth can-i` answers for another user, in all namespaces."""
        words = ["auth", "can-i", verb, resource, "--all-namespaces", f"--as={user}"]
        done = subprocess.run([self.kubectl_path, *words], env=self.env, capture_output=True, text=True, check=False)
        answer = done.stdout.strip()
        assert answer in ("yes", "no"), f"kubectl {' '.join(words)}: {done.stderr}"
        return answer == "yes"

    @contextmanager
    def port_forward(self, target: str, port: int, namespace: str) -> Iterator[int]:
        """A local port that leads to TARGET (for example service/shop-api)."""
        process, local = wait_until(lambda: self._forward(target, port, namespace), f"a way to {target}", WAY_SECONDS)
        with process:
            try:
                yield local
            finally:
                process.terminate()

    def _forward(self, target: str, port: int, namespace: str) -> tuple[subprocess.Popen[str], int]:
        """A kubectl that forwards, and its local port. Raises KubectlFailed."""
        command = [self.kubectl_path, "port-forward", target, f":{port}", "-n", namespace]
        process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if found := re.search(r":(\d+) ->", line):
            return process, int(found.group(1))
        process.kill()
        process.communicate()
        raise KubectlFailed(f"port-forward to {target} said: {line}")

    def describe_failure(self, namespace: str) -> str:
        """Conditions, pods, events and the last log lines of a namespace."""
        parts = [self._try(*words, "-n", namespace) for words in WORTH_SEEING]
        for pod in self._try("get", "pods", "-o", "name", "-n", namespace).split():
            logs = self._try("logs", pod, "-n", namespace, "--all-containers", "--prefix", "--tail=25")
            parts.append(f"--- {pod}\n{logs}")
        operator_logs = self._try(*OPERATOR_LOGS, "-n", "appstack-system")
        parts.append(f"--- operator\n{operator_logs}")
        return "\n".join(parts)

    def _try(self, *words: str) -> str:
        try:
            return self.run(*words)
        except KubectlFailed as error:
            return f"({error})"


T = TypeVar("T")


def wait_until(question: Callable[[], T | None], what: str, limit_seconds: float, every_seconds: float = 0.5) -> T:
    """Ask until the answer is truthy; fail with WHAT and the last answer after the hang limit.

    An API server that is busy for a moment is no answer: kubectl is asked again.
    """
    return answered(question, what, limit_seconds, every_seconds, unanswered=KubectlFailed)
