"""Runs other programs: quietly into a log, or for their output; a failure says where to look."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from appstack_lab.failures import LabError, failure_of, failure_with_log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment with the system's directories on PATH and the extra variables."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}:{SYSTEM_PATH}" if path else SYSTEM_PATH, **(extra or {})}


def output_of(command: Sequence[str], stdin: str | None = None) -> str:
    """Run a command that must succeed and return its standard output."""
    try:
        done = subprocess.run(
            list(command), input=stdin, capture_output=True, text=True, check=False, env=environment()
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed") from None
    if done.returncode != 0:
        raise failure_of(command, done.returncode, done.stderr)
    return done.stdout


def succeeds(command: Sequence[str]) -> bool:
    """Tell whether a command ends with 0; its output is dropped."""
    try:
        done = subprocess.run(list(command), capture_output=True, check=False, env=environment())
    except FileNotFoundError:
        return False
    return done.returncode == 0


def run_logged(
    what: str,
    command: Sequence[str],
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a long step into its log; a failure carries the log's last lines and the probable cause."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as sink:
        sink.write(f"$ {' '.join(command)}\n")
        sink.flush()
        try:
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=False,
                cwd=cwd,
                env=environment(env),
            )
        except FileNotFoundError:
            raise LabError(f"{what} failed: {command[0]} is not installed") from None
    if done.returncode != 0:
        raise failure_with_log(what, log)
