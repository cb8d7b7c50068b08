"""Makes the small agents importable that live beside their images and in no package of ours."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = Path(__file__).parents[3] / "images"

for folder in ("redis", "postgres/agent", "rabbitmq"):
    sys.path.insert(0, str(IMAGES / folder))


@pytest.fixture
def torn_http_port() -> Iterator[int]:
    """A port whose server dies between the head and the body of its answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n{"pod"')

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.fixture
def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
