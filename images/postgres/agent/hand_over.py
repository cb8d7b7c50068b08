#!/usr/bin/python3
"""preStop: a primary that is about to stop hands over to its standby first, so that writers wait for a second or two.

Whatever fails here, the stop goes on: Patroni's own shutdown also hands over, only more slowly.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from patroni_api import ask
from stop_at_switchover import NOTE

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKPOINT_SECONDS = 20
SWITCHOVER_SECONDS = 30
# From the begin of the hook: a last look whose answers are slow (20 s), a checkpoint and a switchover still fit into
# the pod's 120 s of grace; not if the look after the checkpoint is as slow.
CANDIDATE_SECONDS = 45.0
# Others of whom nothing has been heard for so long are not waited for.
SILENT_SECONDS = 20.0
LOOK_SECONDS = 1.0
# There is time before a planned stop: a slow Patroni is waited for.
ANSWER_SECONDS = 10.0
SYNCHRONOUS_ROLES = ("sync_standby", "quorum_standby")


def say(text: str) -> None:
    """One line in the member's log: that is the first process' output, the hook's own goes nowhere."""
    line = f"hand over: {text}\n"
    try:
        with Path("/proc/1/fd/2").open("w") as log:
            log.write(line)
    except OSError:
        sys.stderr.write(line)


def successor(me: str, members: Sequence[dict[str, Any]]) -> str | None:
    """Who takes over: a synchronous standby that streams, the one that is least behind; None: nobody can."""
    able = [
        member
        for member in members
        if member["name"] != me and member["role"] in SYNCHRONOUS_ROLES and member["state"] == "streaming"
    ]
    return min(able, key=lambda member: (lag_of(member), member["name"]))["name"] if able else None


def lag_of(member: dict[str, Any]) -> int:
    """Bytes behind the primary; `unknown` counts as very far."""
    lag = member.get("lag")
    return lag if isinstance(lag, int) else 2**62


def checkpoint() -> None:
    """Write what is dirty while the primary still serves: the checkpoint of its shutdown is short then."""
    command = ["psql", "-qXd", "postgres", "-h", "/run/postgresql", "-c", "CHECKPOINT"]
    try:
        subprocess.run(command, check=True, timeout=CHECKPOINT_SECONDS, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        say(f"not all is written before the switchover: {error}")


def wait_for_successor(me: str, until: float) -> str | None:
    """Who takes over, as soon as somebody can; None: there is nobody to wait for, or nobody could in time.

    A replica that just came back serves (and a drain goes on) before it holds every commit: if the primary went then,
    nobody would lead until it is back.
    """
    heard = time.monotonic()
    while True:
        members = ask("GET", "/cluster", timeout_seconds=ANSWER_SECONDS)["members"]
        if (candidate := successor(me, members)) or not may_come(me, members):
            return candidate
        if any(answers(member) for member in members if member["name"] != me):
            heard = time.monotonic()
        if time.monotonic() > min(until, heard + SILENT_SECONDS):
            return None
        time.sleep(LOOK_SECONDS)


def may_come(me: str, members: Sequence[dict[str, Any]]) -> bool:
    """Whether somebody may yet become able to: this member leads, it is not alone, and commits wait for others."""
    leads = any(member["name"] == me and member["role"] == "leader" for member in members)
    if not leads or len(members) == 1:
        return False
    return bool(ask("GET", "/config", timeout_seconds=ANSWER_SECONDS).get("synchronous_mode"))


def answers(member: dict[str, Any]) -> bool:
    """Whether another member's Patroni is there."""
    address = urlsplit(member.get("api_url", ""))
    try:
        socket.create_connection((address.hostname or "", address.port or 0), timeout=1.0).close()
    except OSError:
        return False
    return True


def switch_over(me: str, candidate: str) -> Any:
    """Have Patroni switch over, while a note tells it (stop_at_switchover.py, staying.py) what it stops for."""
    NOTE.touch()
    try:
        return ask("POST", "/switchover", {"leader": me, "candidate": candidate}, SWITCHOVER_SECONDS)
    finally:
        NOTE.unlink()


def main() -> None:
    """Checkpoint, switch over, wait until this member is no primary any more."""
    me, begun = os.environ["POD_NAME"], time.monotonic()
    try:
        if ask("GET", "/patroni", timeout_seconds=ANSWER_SECONDS).get("role") != "primary":
            return
        candidate, found = wait_for_successor(me, begun + CANDIDATE_SECONDS), time.monotonic()
        if candidate is not None:
            checkpoint()  # takes its time: another one may be able to take over afterwards
            candidate = wait_for_successor(me, begun + CANDIDATE_SECONDS)
        if candidate is None:
            say("no synchronous standby can take over")
            return
        written = time.monotonic()
        answer = switch_over(me, candidate)
        say(
            f"{answer} (wait {found - begun:.1f} s, checkpoint {written - found:.1f} s, "
            f"switchover {time.monotonic() - written:.1f} s)"
        )
    except (OSError, KeyError) as error:
        say(f"not done, the stop goes on without: {error}")


if __name__ == "__main__":
    main()
