"""The supervisor restarts what ends, stops what it is told to, and takes everybody with it."""

from __future__ import annotations

import os
import signal
import socket as sockets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from appstack_lab import orders
from appstack_lab.failures import LabError
from appstack_lab.orders import ask
from appstack_lab.state import write_json
from appstack_lab.supervisor import Process, build_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLEEP = ["setpriv", "--pdeathsig", "KILL", "sleep", "1000"]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start a supervisor of the given processes in the background; return its socket."""
    started: list[subprocess.Popen[bytes]] = []

    def run(**commands: Process) -> Path:
        socket, spec = tmp_path / "s.sock", tmp_path / "spec.json"
        write_json(spec, build_spec(socket, list(commands.values())))
        started.append(subprocess.Popen([sys.executable, "-m", "appstack_lab.supervisor", str(spec)]))
        wait_for(lambda: ask(socket, "status") is not None)
        return socket

    yield run
    for supervisor in started:
        supervisor.kill()
        supervisor.wait()


def a_process(tmp_path: Path, name: str, command: list[str], **settings: Any) -> Process:
    return Process(name, command, str(tmp_path / f"{name}.log"), **settings)


def wait_for(is_true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def report(socket: Path, name: str) -> dict[str, Any]:
    answer = ask(socket, "status")
    assert answer is not None
    return next(each for each in answer["processes"] if each["name"] == name)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_process_comes_back_and_its_end_is_told(supervise: Callable[..., Path], tmp_path: Path) -> None:
    socket = supervise(sleep=a_process(tmp_path, "sleep", SLEEP))
    wait_for(lambda: report(socket, "sleep")["pid"] > 0)
    first = report(socket, "sleep")["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: report(socket, "sleep")["pid"] not in (0, first))
    assert report(socket, "sleep")["restarts"] == 1
    assert report(socket, "sleep")["last_exit"] == "signal 9"
    assert "lab: ended: signal 9" in (tmp_path / "sleep.log").read_text()


def test_a_full_disk_ends_no_supervisor(supervise: Callable[..., Path]) -> None:
    socket = supervise(sleep=Process("sleep", SLEEP, "/dev/full"))
    wait_for(lambda: report(socket, "sleep")["pid"] > 0)
    first = report(socket, "sleep")["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: report(socket, "sleep")["pid"] not in (0, first))


def test_a_process_that_keeps_failing_is_started_ever_more_rarely(
    supervise: Callable[..., Path], tmp_path: Path
) -> None:
    began = time.monotonic()
    socket = supervise(fail=a_process(tmp_path, "fail", ["false"]))
    wait_for(lambda: report(socket, "fail")["restarts"] >= 4)
    assert time.monotonic() - began > 0.5 + 1.0 + 2.0


def test_a_stopped_process_stays_down_until_it_is_started(supervise: Callable[..., Path], tmp_path: Path) -> None:
    socket = supervise(sleep=a_process(tmp_path, "sleep", SLEEP))
    wait_for(lambda: report(socket, "sleep")["pid"] > 0)
    ask(socket, "stop", "sleep")
    wait_for(lambda: report(socket, "sleep")["state"] == "stopped")
    time.sleep(1.0)
    assert report(socket, "sleep")["state"] == "stopped"
    ask(socket, "start", "sleep")
    wait_for(lambda: report(socket, "sleep")["state"] == "running")


def test_a_process_waits_for_what_it_needs(supervise: Callable[..., Path], tmp_path: Path) -> None:
    needed = tmp_path / "needed.sock"
    socket = supervise(late=a_process(tmp_path, "late", SLEEP, needs=(str(needed),)))
    time.sleep(0.4)
    assert report(socket, "late")["state"] == "waiting"
    supervised = a_process(tmp_path, "other", SLEEP)
    spec = tmp_path / "other.json"
    write_json(spec, build_spec(needed, [supervised]))
    with subprocess.Popen([sys.executable, "-m", "appstack_lab.supervisor", str(spec)]) as other:
        wait_for(lambda: report(socket, "late")["state"] == "running")
        other.kill()


def test_nobody_outlives_a_killed_supervisor(supervise: Callable[..., Path], tmp_path: Path) -> None:
    socket = supervise(sleep=a_process(tmp_path, "sleep", SLEEP))
    wait_for(lambda: report(socket, "sleep")["pid"] > 0)
    pid = report(socket, "sleep")["pid"]
    answer = ask(socket, "status")
    assert answer is not None
    # Before that setpriv may not have asked for the signal yet: whose parent dies in these milliseconds outlives it.
    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    os.kill(answer["pid"], signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))


def test_quitting_ends_everybody(supervise: Callable[..., Path], tmp_path: Path) -> None:
    socket = supervise(sleep=a_process(tmp_path, "sleep", SLEEP))
    wait_for(lambda: report(socket, "sleep")["pid"] > 0)
    pid = report(socket, "sleep")["pid"]
    ask(socket, "quit")
    wait_for(lambda: not is_alive(pid))
    wait_for(lambda: ask(socket, "status") is None)


def test_a_supervisor_that_hangs_is_not_taken_for_a_dead_one(
    supervise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = supervise()
    answer = ask(socket, "status")
    assert answer is not None
    os.kill(answer["pid"], signal.SIGSTOP)
    with monkeypatch.context() as impatient, pytest.raises(LabError, match="does not answer"):
        impatient.setattr(orders, "TIMEOUT_SECONDS", 0.3)
        ask(socket, "status")
    os.kill(answer["pid"], signal.SIGCONT)
    assert ask(socket, "status") is not None


def test_who_hangs_up_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"

    def hang_up(listener: sockets.socket) -> None:
        for _ in range(2):
            listener.accept()[0].close()

    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(socket))
        listener.listen()
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        with pytest.raises(LabError, match="breaks off"):
            ask(socket, "status")
        thread.join()
    assert ask(socket, "status") is None
