#!/usr/bin/python3
"""preStop: a primary that is about to stop hands over to its standby first, so that writers wait for a second or two.

Whatever fails here, the stop goes on: Patroni's own shutdown also hands over, only more slowly.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patroni_api import ask
from stop_at_switchover import NOTE

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKPOINT_SECONDS = 20
SWITCHOVER_SECONDS = 30
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
    subprocess.run(command, check=True, timeout=CHECKPOINT_SECONDS, stdout=subprocess.DEVNULL)


def switch_over(me: str, candidate: str) -> Any:
    """Have Patroni switch over, while a note tells stop_at_switchover.py that this is what it stops for."""
    NOTE.touch()
    try:
        return ask("POST", "/switchover", {"leader": me, "candidate": candidate}, SWITCHOVER_SECONDS)
    finally:
        NOTE.unlink()


def main() -> None:
    """Checkpoint, switch over, wait until this member is no primary any more."""
    me = os.environ["POD_NAME"]
    try:
        if ask("GET", "/patroni", timeout_seconds=ANSWER_SECONDS).get("role") != "primary":
            return
        candidate = successor(me, ask("GET", "/cluster", timeout_seconds=ANSWER_SECONDS)["members"])
        if candidate is None:
            say("no synchronous standby can take over")
            return
        begun = time.monotonic()
        checkpoint()
        written = time.monotonic()
        answer = switch_over(me, candidate)
        say(f"{answer} (checkpoint {written - begun:.1f} s, switchover {time.monotonic() - written:.1f} s)")
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        say(f"not done, the stop goes on without: {error}")


if __name__ == "__main__":
    main()
