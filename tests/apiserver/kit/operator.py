"""The real operator as a process, pointed at the fault proxy."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = {f"APPSTACK_IMAGE_{name.upper()}": f"{name}:1" for name in ("backend", "postgres", "redis", "rabbitmq")}


@dataclass(slots=True)
class OperatorProcess:
    """Starts `appstack-operator run` for one namespace, any number of times."""

    url: str
    namespace: str
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """What all its lives wrote."""
        return self.folder / f"operator-{self.namespace}.log"

    def start(self) -> None:
        """One more life."""
        kubeconfig = self.folder / "operator.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(build_kubeconfig(self.url)))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "KUBECONFIG": str(kubeconfig),
            "APPSTACK_WATCH_NAMESPACES": self.namespace,
            "APPSTACK_METRICS_PORT": str(free_port()),
            "APPSTACK_HEALTH_PORT": str(free_port()),
            "APPSTACK_POLL_SECONDS": "1",
            **IMAGES,
        }
        command = [sys.executable, "-c", "from appstack_operator.main import main; main()", "run"]
        with self.log.open("ab") as sink:
            self.started.append(subprocess.Popen(command, env=environment, stdout=sink, stderr=sink))

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        if self.started:
            self.started[-1].kill()
            self.started[-1].wait()

    def is_running(self) -> bool:
        """Whether the last life goes on."""
        return bool(self.started) and self.started[-1].poll() is None


def build_kubeconfig(url: str) -> dict[str, object]:
    """Plain HTTP to the proxy, which has the certificate."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": url}}],
        "users": [{"name": "proxy", "user": {"token": "unused"}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
    }
