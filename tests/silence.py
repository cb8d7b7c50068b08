"""A port on loopback that says nothing, as one on a lost node: whoever connects waits."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = 4  # more than a queue of one takes


@contextmanager
def a_silent_port(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Somebody listens, takes no connection, and has as many in his queue as it holds: the kernel drops all others."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(0)
        for _ in range(FULL):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]
