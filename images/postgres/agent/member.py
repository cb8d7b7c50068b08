#!/usr/bin/python3
"""A member's first process: discards what was half rewound, starts the agent, and becomes Patroni."""

import os
import signal
import sys
import time
from pathlib import Path

from rewind import discard_half_rewound

DATA = Path("/var/lib/postgresql/data/pgdata")
AGENT = Path(__file__).with_name("agent.py")
PATRONI = Path(__file__).with_name("patroni_keeping_its_lock.py")
PAUSE_SECONDS = 2.0


def keep_running(command: list[str]) -> None:
    """Start a process again whenever it ends; Patroni as the first process cannot do that for us."""
    while True:
        try:
            os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)
        except OSError as error:  # no process or no memory to be had: later there may be
            sys.stderr.write(f"{command[-1]} could not be started: {error}\n")
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Look at the data, then fork.

    The parent keeps its number, 1, by which Patroni knows that it has to reap what others leave behind.
    """
    if discard_half_rewound(DATA):
        sys.stderr.write("the data was half rewound when this member was killed: a new copy is fetched\n")
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        keep_running([sys.executable, str(AGENT)])
    os.execv(sys.executable, [sys.executable, str(PATRONI), *sys.argv[1:]])  # noqa: S606 - the image's own


if __name__ == "__main__":
    main()
