#!/usr/bin/python3
"""A pooler's first process: writes the password file into memory, runs PgBouncer, and stops it gently."""

import configparser
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType


def quoted(text: str) -> str:
    """A string of PgBouncer's password file."""
    return '"' + text.replace('"', '""') + '"'


def main() -> int:
    """Run until PgBouncer ends."""
    configuration = configparser.ConfigParser(interpolation=None)
    configuration.read(sys.argv[1])
    users = Path(configuration["pgbouncer"]["auth_file"])
    users.touch(mode=0o600)
    users.write_text(f"{quoted(os.environ['APP_USERNAME'])} {quoted(os.environ['APP_PASSWORD'])}\n")
    bouncer = subprocess.Popen(["/usr/sbin/pgbouncer", *sys.argv[1:]])

    def stop(_number: int, _frame: FrameType | None) -> None:
        # PgBouncer waits for its clients on SIGTERM, and they stay; on SIGINT it lets transactions end.
        bouncer.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    return bouncer.wait()


if __name__ == "__main__":
    sys.exit(main())
