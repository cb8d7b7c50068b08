"""A way to a real server that can be made to end at one that answers wrongly."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Lie = tuple[bytes, ...]  # what is sent after each thing that arrives; then the connection is closed


class Impostor:
    """Forwards until it is given a lie; then it cuts what goes through it and tells the lie to all who come."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._lie: Lie | None = None
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.told = 0  # the most parts of the lie that one connection heard
        threading.Thread(target=self._serve, daemon=True).start()

    def tell(self, lie: Lie | None) -> None:
        """The lie from now on; None: the truth again."""
        self._lie, opened, self._open, self.told = lie, self._open, [], 0
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.tell(())
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                threading.Thread(target=self._answer, args=(near,), daemon=True).start()

    def _answer(self, near: socket.socket) -> None:
        with suppress(OSError), near:
            if (lie := self._lie) is not None:
                self._open.append(near)
                for number, sent in enumerate(lie, 1):
                    if not near.recv(65536):
                        return
                    near.sendall(sent)
                    self.told = max(self.told, number)
                return
            with socket.create_connection(("127.0.0.1", self._to)) as far:
                self._open += [near, far]
                threading.Thread(target=pump, args=(far, near), daemon=True).start()
                pump(near, far)


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def impostor(port: int) -> Iterator[Impostor]:
    """An honest way to a port, for now."""
    one = Impostor(port)
    try:
        yield one
    finally:
        one.close()
