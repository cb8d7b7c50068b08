"""Clusters for the tests of the lab itself: their own names and address ranges, so nobody else is disturbed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from appstack_lab.network import NAMESPACES
from appstack_lab.packages import CLUSTER_TOOLS, ensure_packages
from tests.waits import answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAB = Path(sys.executable).parent / "lab"
PODS = Path(__file__).parent / "pods.yaml"
SHORT_LIVED = "lab-life"
AGAIN_SECONDS = 60.0  # a limit for hangs: where a cluster runs already, nothing is made


class CommandFailed(AssertionError):
    """A command did not succeed; the message is what it said."""


def run(
    *command: str | Path, timeout: float = 1500, check: bool = True, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; when it should succeed and does not, the test shows what it said. Raises CommandFailed."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=timeout, check=False, input=stdin
    )
    if check and done.returncode:
        raise CommandFailed(f"{command}: {done.stdout}\n{done.stderr}")
    return done


def commands_with(mark: str) -> dict[int, str]:
    """Find the processes whose command contains a mark."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if entry.name.isdigit() and mark in command:
                found[int(entry.name)] = command
    return found


def eventually(what: str, is_true: Callable[[], Any], seconds: float = 240.0) -> Any:
    """Wait for something to become true and return it; an API server that is busy for a moment is asked again."""
    return answered(is_true, what, seconds, 0.3, unanswered=CommandFailed)


@dataclass(frozen=True)
class LabCluster:
    """A cluster under test and the two programs that talk to it."""

    name: str
    kubeconfig: Path
    options: tuple[str, ...] = ()

    def create(self) -> subprocess.CompletedProcess[str]:
        return self.lab("create", "cluster", "--kubeconfig", str(self.kubeconfig), *self.options)

    def delete(self) -> subprocess.CompletedProcess[str]:
        return self.lab("delete", "cluster", "--kubeconfig", str(self.kubeconfig))

    def lab(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(LAB, *arguments, "--name", self.name, check=check)

    def kubectl(self, *arguments: str, check: bool = True, timeout: float = 300, stdin: str | None = None) -> str:
        kubectl = Path(run(LAB, "bin").stdout.strip()) / "kubectl"
        done = run(kubectl, f"--kubeconfig={self.kubeconfig}", *arguments, check=check, timeout=timeout, stdin=stdin)
        return done.stdout

    def wait(self, condition: str, pod: str) -> None:
        """Wait for a pod; if it does not come, the test shows what became of all of them. Raises CommandFailed."""
        try:
            self.kubectl("wait", f"--for={condition}", f"pod/{pod}", "--timeout=240s")
        except CommandFailed as error:
            raise CommandFailed(f"{error}\n{self.kubectl('describe', 'pods')}") from error

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.lab("status", "-o", "json", check=False).stdout)
        return answer

    def node(self, name: str) -> dict[str, Any]:
        return next(node for node in self.status()["nodes"] if node["name"] == name)

    def process(self, name: str) -> dict[str, Any]:
        return next(each for each in self.status()["processes"] if each["name"] == name)

    def pod_on(self, node: str) -> str:
        """Return the name of the test's pod on a node."""
        return self.kubectl(
            "get", "pods", "-l", "app=box", "--field-selector", f"spec.nodeName={node}",
            "-o", "jsonpath={.items[0].metadata.name}",
        )  # fmt: skip


def have_it_as_a_fresh_machine() -> None:
    """`ip netns` makes its directory a mount, which stays; a machine on which nobody used it has neither."""
    if NAMESPACES.is_mount() and not any(NAMESPACES.iterdir()):
        run("umount", NAMESPACES)


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[LabCluster]:
    """One node, for a test that has it come and go."""
    ensure_packages(CLUSTER_TOOLS)  # what looks for traces is among them
    made = LabCluster(SHORT_LIVED, tmp_path / "kubeconfig", ("--nodes", "1", "--volume-size", "64Mi"))
    made.delete()
    have_it_as_a_fresh_machine()
    yield made
    made.delete()


@pytest.fixture(scope="package")  # it is gone before the tests of others have a cluster of their own
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    """Two nodes with small volumes, and on each a pod with a volume behind one Service."""
    kubeconfig = tmp_path_factory.mktemp("lab") / "kubeconfig"
    made = LabCluster("lab-test", kubeconfig, ("--nodes", "2", "--volume-size", "64Mi"))
    made.delete()
    made.create()
    try:
        made.kubectl("apply", "-f", str(PODS))
        made.kubectl("rollout", "status", "statefulset/box", "--timeout=240s")
        yield made
    finally:
        made.delete()
