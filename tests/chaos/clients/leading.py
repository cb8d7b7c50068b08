"""Connections through a Service that lead to a chosen pod: what a fault does to held ones would else be luck."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

TRIES = 60  # behind a Service are three pods at most
ANSWERED_BY = re.compile(r"\bsrc=(\S+)")


class Elsewhere(RuntimeError):
    """No connection led to the pod."""


def pods_behind(host: str, port: int) -> set[str]:
    """The addresses of the pods that this process's connections to a Service lead to.

    As the kernel has noted them for the network namespace of this process. Raises CalledProcessError.
    """
    found = set()
    for own in own_ports(host, port):
        command = ["conntrack", "-L", "-p", "tcp", "--orig-dst", host, "--orig-port-src", str(own)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        # The source of what is sent, then of what is answered.
        found |= {ANSWERED_BY.findall(line)[1] for line in told.splitlines()}
    return found


def own_ports(host: str, port: int) -> list[int]:
    """Of this process's connections to a place, whichever library holds them."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not entry.is_socket():
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as end:
                if end.getpeername()[:2] == (host, port):
                    found.append(int(end.getsockname()[1]))
        except OSError:  # it is closed by now, or not connected
            continue
    return found
