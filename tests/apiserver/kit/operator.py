"""The real operator as a process, pointed at the fault proxy."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from appstack_lab.node import DIE_WITH_PARENT
from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
IMAGES = {f"APPSTACK_IMAGE_{name.upper()}": f"{name}:1" for name in ("backend", "postgres", "redis", "rabbitmq")}


class Zygote:
    """Forks operators off a process that has imported all of it: half a second of work less for each of a hundred."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def fork(self, environment: dict[str, str], log: Path) -> int:
        """Start an operator; a file descriptor that tells when it has ended (and sends it signals)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"environment": environment, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        return os.pidfd_open(int(self._process.stdout.readline()))


@contextmanager
def zygote() -> Iterator[Zygote]:
    """A forker for as long as the block runs."""
    command = [*DIE_WITH_PARENT, sys.executable, "-m", "tests.apiserver.kit.zygote"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Zygote(process)
        finally:
            process.kill()


@dataclass(slots=True)
class OperatorProcess:
    """Runs the operator for one namespace (or some, with commas between), any number of times."""

    zygote: Zygote
    server: dict[str, str]  # as a kubeconfig describes it
    namespace: str
    folder: Path
    token: str = "unused"
    environment: dict[str, str] = field(default_factory=dict)
    metrics_port: int = 0
    _handle: int | None = None

    @property
    def log(self) -> Path:
        """What all its lives wrote."""
        return self.folder / f"operator-{self.namespace}.log"

    def start(self) -> None:
        """One more life."""
        assert not self.is_running(), "it runs already"
        kubeconfig = self.folder / f"operator-{self.namespace}.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(build_kubeconfig(self.server, self.token)))
        self.metrics_port = free_port()
        environment = {
            "KUBECONFIG": str(kubeconfig),
            "APPSTACK_WATCH_NAMESPACES": self.namespace,
            "APPSTACK_METRICS_PORT": str(self.metrics_port),
            "APPSTACK_HEALTH_PORT": str(free_port()),
            "APPSTACK_POLL_SECONDS": "1",
            **IMAGES,
            **self.environment,
        }
        self._handle = self.zygote.fork(environment, self.log)

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        if self._handle is None:
            return
        if self.is_running():
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            select.select([self._handle], [], [])
        os.close(self._handle)
        self._handle = None

    def is_running(self) -> bool:
        """Whether the last life goes on."""
        return self._handle is not None and not select.select([self._handle], [], [], 0)[0]

    def check(self) -> None:
        """Fail where the last life, which nobody ended, has ended."""
        assert self.is_running(), f"the operator ended by itself: {self.tail()}"

    def said(self) -> str:
        """All that its lives have said."""
        return self.log.read_text() if self.log.exists() else ""

    def tail(self) -> str:
        """The last words, and how the last life that did so ended."""
        end = Path(f"{self.log}.end")
        return self.said()[-3000:] + (end.read_text() if end.exists() else "")


def build_kubeconfig(server: dict[str, str], token: str) -> dict[str, object]:
    """The only cluster, and who asks."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": server}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
