"""Keeps processes running: starts, restarts with backoff, logs, and takes orders on a socket.

Runs as a process of its own: one per cluster for the control plane, and one as the first process of
every node for what runs there. The spec is a JSON file (see `Process`).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 10.0
HEALTHY_SECONDS = 30.0  # who ran this long starts again without delay
POLL_SECONDS = 0.1  # while somebody waits for an address or a moment


@dataclass(frozen=True, slots=True)
class Process:
    """One process to keep: its command, its log, and the addresses that must answer before its start."""

    name: str
    command: list[str]
    log: str
    needs: tuple[str, ...] = ()
    wraps: bool = False  # its child is what counts, and takes all with it when it ends
    starts: bool = True  # at once; otherwise when ordered to


@dataclass(slots=True)
class Child:
    """A process and what became of it."""

    process: Process
    pid: int = 0
    wanted: bool = True
    restarts: int = 0
    delay_seconds: float = 0.0
    started: float = 0.0
    start_at: float = 0.0
    last_exit: str = ""

    def state(self) -> str:
        if self.pid:
            return "running"
        return "waiting" if self.wanted else "stopped"


def answers(address: str) -> bool:
    """Tell whether something listens at host:port, or at the path of a socket."""
    host, _, port = address.rpartition(":")
    try:
        if address.startswith("/"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.5)
                connection.connect(address)
                return True
        with socket.create_connection((host, int(port)), timeout=0.5):
            return True
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def describe_exit(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


@dataclass(slots=True)
class Supervisor:
    """The processes of one spec."""

    children: dict[str, Child] = field(default_factory=dict)
    done: bool = False

    def note(self, child: Child, text: str) -> None:
        """Write a line of ours into a component's log, if it takes one: a full disk is no reason to end everybody."""
        with contextlib.suppress(OSError), Path(child.process.log).open("a") as log:
            log.write(f"--- {datetime.now().astimezone().isoformat(timespec='seconds')} lab: {text}\n")

    def start(self, child: Child) -> None:
        """Start a process; its output goes to its log and nowhere else."""
        self.note(child, f"start {' '.join(child.process.command)}")
        try:
            with Path(child.process.log).open("ab") as log:
                running = subprocess.Popen(
                    child.process.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,
                )
        except OSError as error:
            self.schedule(child, str(error))
            return
        running.returncode = 0  # reaped by us, with the orphans
        child.pid, child.started = running.pid, time.monotonic()

    def schedule(self, child: Child, reason: str) -> None:
        """Plan the next start of a process that ended or did not start."""
        ran_seconds = time.monotonic() - child.started if child.pid else 0.0
        child.pid, child.last_exit = 0, reason
        if not child.wanted:
            self.note(child, f"stopped: {reason}")
            return
        if ran_seconds >= HEALTHY_SECONDS:
            child.delay_seconds = 0.0
        child.restarts += 1
        child.delay_seconds = min(max(2 * child.delay_seconds, FIRST_DELAY_SECONDS), LONGEST_DELAY_SECONDS)
        child.start_at = time.monotonic() + child.delay_seconds
        self.note(child, f"ended: {reason}; again in {child.delay_seconds:.1f} s")

    def reap(self) -> None:
        """Collect every process that ended, also orphans left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self.children.values():
                if child.pid == pid:
                    self.schedule(child, describe_exit(status))

    def start_due(self) -> float | None:
        """Start whoever may start; return how long to sleep at most, None for until something happens."""
        now = time.monotonic()
        idle = True
        for child in self.children.values():
            if child.pid or not child.wanted:
                continue
            if child.start_at <= now and all(map(answers, child.process.needs)):
                self.start(child)
            if not child.pid:
                idle = False
        return None if idle else POLL_SECONDS

    def kill(self, child: Child) -> None:
        """End a process at once."""
        for pid in (child.process.wraps and children_of(child.pid)) or [child.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def order(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order: status, stop NAME, start NAME, quit."""
        match request.get("do"):
            case "stop":
                child = self.children[request["name"]]
                child.wanted = False
                if child.pid:
                    self.kill(child)
            case "start":
                child = self.children[request["name"]]
                child.wanted, child.delay_seconds, child.start_at = True, 0.0, 0.0
            case "quit":
                self.done = True
        return {"pid": os.getpid(), "processes": [self.report(child) for child in self.children.values()]}

    def report(self, child: Child) -> dict[str, Any]:
        return {
            "name": child.process.name,
            "state": child.state(),
            "pid": child.pid,
            "restarts": child.restarts,
            "last_exit": child.last_exit,
            "log": child.process.log,
        }

    def answer(self, listener: socket.socket) -> None:
        """Serve one client: a line of JSON in, a line of JSON out."""
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(2.0)
            request = json.loads(connection.makefile("r").readline())
            try:
                reply = self.order(request)
            except KeyError:
                reply = {"error": f"there is no process {request.get('name')}"}
            connection.sendall(json.dumps(reply).encode() + b"\n")

    def run(self, listener: socket.socket) -> None:
        """Supervise until told to quit, then end everybody."""
        ours, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "done", True))
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(ours, selectors.EVENT_READ)
            while not self.done:
                self.reap()
                for key, _ in selector.select(self.start_due()):
                    if key.fileobj is listener:
                        self.answer(listener)
                    else:
                        os.read(ours, 4096)
        listener.close()
        for child in self.children.values():
            child.wanted = False
            if child.pid:
                self.kill(child)
        deadline = time.monotonic() + 10
        while any(child.pid for child in self.children.values()) and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.02)


def listen(path: Path) -> socket.socket:
    """Listen on a socket file, in place of whoever left one there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    return listener


def supervise(spec: dict[str, Any]) -> None:
    """Run the supervisor of a spec: {"socket": PATH, "processes": [Process, …]}."""
    processes = [Process(**entry) for entry in spec["processes"]]
    supervisor = Supervisor({process.name: Child(process, wanted=process.starts) for process in processes})
    supervisor.run(listen(Path(spec["socket"])))


def build_spec(socket_path: Path, processes: list[Process]) -> dict[str, Any]:
    """Build what `supervise` reads."""
    return {"socket": str(socket_path), "processes": [asdict(process) for process in processes]}


if __name__ == "__main__":
    supervise(json.loads(Path(sys.argv[1]).read_text()))
