"""Talks to a running supervisor over its socket."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from appstack_lab.failures import LabError

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS = 20.0


def ask(path: Path, do: str, name: str = "") -> dict[str, Any] | None:
    """Give an order and return the answer; None when no supervisor listens."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps({"do": do, "name": name}).encode() + b"\n")
            line = connection.makefile("r").readline()
    except (FileNotFoundError, ConnectionError):
        return None
    reply: dict[str, Any] = json.loads(line) if line else {}
    if "error" in reply:
        raise LabError(reply["error"])
    return reply
