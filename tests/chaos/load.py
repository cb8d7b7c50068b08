"""Starts the clients as processes in the network of a chosen node, and ends them in an order that loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab.network import NAMESPACES
from tests.chaos.history import Outcome
from tests.chaos.site import Site, Trouble, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]
STEADY = (
    "sql-held",
    "sql-reconnecting",
    "sql-reader",
    "redis-held",
    "redis-reconnecting",
    "redis-reader",
    "rabbitmq-held",
    "rabbitmq-reconnecting",
    "rabbitmq-reader",
    "api-writer",
    "api-reconnecting-writer",
    "api-held",
    "api-reconnecting",
    "api-retrying",
    "api-import",
)
# Inside a node that is cut off, each held to a server there.
ISOLATED = ("sql-isolated", "sql-isolated-reader", "redis-isolated", "redis-isolated-reader", "rabbitmq-isolated")
LAST = ("rabbitmq-reader",)  # goes on until the queue is empty
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")  # no load outlives its run
END_SECONDS = 150.0  # the import client waits for its last feed


def copies_of(name: str, numbers: Iterable[int]) -> list[str]:
    """The names of further clients of a kind."""
    return [f"{name}.{number}" for number in numbers]


def begin(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a client in a session of its own.

    The kernel shares busy processors out by session (autogroup), and the lab's own group weighs twelve of them. All
    clients in one stood still for up to 7 s while a pod burnt processor time, and that was told as the service's wait.
    """
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, start_new_session=True)


@dataclass
class Load:
    """The clients of one run."""

    site: Site
    directory: Path  # histories, and what the clients printed
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, names: Iterable[str], node: str, host: str = "", copies: range | None = None) -> None:
        """Start clients on a node; with a host they talk straight to that server.

        Copies NAME.N of a client share a process group and what it has loaded: ten times the load is no ten times the
        start-up.
        """
        namespace = NAMESPACES / self.site.cluster.namespace(self.site.cluster.node(node))
        for name in names:
            command = [
                *DIE_WITH_PARENT,
                "nsenter",
                f"--net={namespace}",
                sys.executable,
                "-m",
                "tests.chaos.clients",
                name,
            ]
            command += ["--target", str(self.directory / "target.json"), "--history", str(self.directory)]
            command += ["--host", host] if host else []
            command += ["--copies", str(copies.start), str(copies.stop)] if copies else []
            process = begin(command, self.directory / f"{name}{'.copies' if copies else ''}.log")
            self.running |= dict.fromkeys(copies_of(name, copies) if copies else [name], process)

    def history(self, name: str) -> Path:
        return self.directory / f"{name}.jsonl"

    def histories(self) -> list[Path]:
        return sorted(self.directory.glob("*.jsonl"))

    def wait_until_steady(self, limit_seconds: float = 180) -> None:
        """Return when every client has had successes. Raises Trouble with the one that has none."""
        for name in self.running:
            wait_until(lambda name=name: self.successes(name) >= 3, f"{name} is served", limit_seconds, 0.2)  # type: ignore[misc]

    def successes(self, name: str) -> int:
        """How many operations of a client were acknowledged so far. Raises Trouble if it has ended."""
        process = self.running[name]
        if process.poll() is not None:
            raise Trouble(f"{name} ended with {process.returncode}: {self.directory / name}.log")
        path = self.history(name)
        return path.read_text().count(f'"outcome":"{Outcome.OK}"') if path.exists() else 0

    def was_served_since(self, name: str, moment: float) -> bool:
        """Whether a client's last lines tell of a success after a moment."""
        if not self.history(name).exists():
            return False
        with self.history(name).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 8192))
            lines = file.read().decode(errors="replace").splitlines()[1:]
        for line in lines:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if found["outcome"] == Outcome.OK and found["end"] > moment:
                return True
        return False

    def gone(self) -> list[str]:
        """Clients that have ended by themselves."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def end(self, backlog: object = None) -> None:
        """End all clients but the consumer, let it empty the queue, end it."""
        self.stop([name for name in self.running if name not in LAST])
        if callable(backlog):
            wait_until(lambda: backlog() == 0, "the queue is empty", END_SECONDS)
        self.stop(list(self.running))

    def stop(self, names: Iterable[str]) -> None:
        """SIGTERM, and SIGKILL after a limit that is far beyond every client's patience."""
        processes = dict.fromkeys(self.running.pop(name) for name in list(names))
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        for process in processes:
            try:
                process.wait(max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
