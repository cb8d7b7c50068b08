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
    """Give an order and return the answer; None only when it is certain that no supervisor listens."""
    try:
        reply = converse(path, do, name) or converse(path, do, name)  # one that ends breaks off; then it is gone
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except PermissionError:
        raise LabError(f"this needs root: the supervisor behind {path} listens to nobody else") from None
    except OSError as error:
        raise LabError(f"the supervisor behind {path} does not answer: {error}") from None
    if reply is None:
        raise LabError(f"the supervisor behind {path} breaks off every conversation")
    if "error" in reply:
        raise LabError(reply["error"])
    return reply


def converse(path: Path, do: str, name: str) -> dict[str, Any] | None:
    """Send one order and read the answer; None when the other side hangs up in between."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(str(path))
        try:
            connection.sendall(json.dumps({"do": do, "name": name}).encode() + b"\n")
            line = connection.makefile("r").readline()
        except (BrokenPipeError, ConnectionResetError):
            return None
    reply: dict[str, Any] | None = json.loads(line) if line else None
    return reply
