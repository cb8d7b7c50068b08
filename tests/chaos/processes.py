"""The processes of a pod on this machine: found by their control group, told apart by what they run."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The program that is the service itself; what else runs in the pod manages it.
SERVERS = {
    "postgres": "postgres",
    "redis": "redis-server",
    "redis-sentinel": "redis-sentinel",
    "rabbitmq": "beam.smp",
    "postgres-pooler": "pgbouncer",
}


def pids_of(containers: Iterable[str]) -> list[int]:
    """All processes of these containers."""
    ids, found = set(containers), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                text = (entry / "cgroup").read_text()
                if any(each in text for each in ids):
                    found.append(int(entry.name))
    return sorted(found)


def program_of(pid: int) -> str:
    """The base name of what a process runs; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def is_server(component: str, pid: int) -> bool:
    """Whether a process belongs to the service itself."""
    program = program_of(pid)
    # Debian's redis-server and redis-sentinel are one program under two names.
    return program.startswith("redis-") if component.startswith("redis") else program == SERVERS.get(component)


def servers_of(component: str, containers: Iterable[str]) -> list[int]:
    """The processes of the service itself, the oldest (the one that the others descend from) first."""
    return sorted((pid for pid in pids_of(containers) if is_server(component, pid)), key=start_time)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks; a process is known by (pid, start), pids come again."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


def send(number: signal.Signals, pids: Iterable[int]) -> list[tuple[int, int]]:
    """Send a signal; the processes that got it, as (pid, start)."""
    reached = []
    for pid in pids:
        started = start_time(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            reached.append((pid, started))
    return reached


def thaw(frozen: Iterable[tuple[int, int]]) -> None:
    """Let stopped processes go on, those of them that are still there."""
    send(signal.SIGCONT, (pid for pid, started in frozen if start_time(pid) == started))


def freeze(pids: Iterable[int]) -> list[tuple[int, int]]:
    """Stop processes; what they start in the same moment is stopped by a second look of the caller."""
    return send(signal.SIGSTOP, pids)


def stopped(pids: Iterable[int]) -> list[tuple[int, int]]:
    """Those of the processes that a SIGSTOP holds, as (pid, start)."""
    return [(pid, start_time(pid)) for pid in pids if state_of(pid) == "T"]


def state_of(pid: int) -> str:
    """The kernel's letter for what a process does; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_for_end(pids: Iterable[int], limit_seconds: float) -> None:
    """Return when the processes are gone. Raises TimeoutError."""
    deadline = time.monotonic() + limit_seconds
    while any(program_of(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still running after {limit_seconds} s: {list(pids)}")
        time.sleep(0.05)
