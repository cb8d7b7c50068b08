"""A Redis connection with one hard time limit and no retries: a keeper must never wait for the dead."""

import socket
from types import TracebackType
from typing import Any


class RedisError(Exception):
    """The server refused a command; the message is its answer."""


class Connection:
    """One authenticated connection. Raises OSError or RedisError, never retries."""

    def __init__(self, host: str, port: int, password: str, timeout_seconds: float = 0.7) -> None:
        """Connect and authenticate."""
        self._socket = socket.create_connection((host, port), timeout_seconds)
        self._file = self._socket.makefile("rb")
        if password:
            self.call("AUTH", password)

    def __enter__(self) -> "Connection":
        """Close the connection at the end of a with block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def call(self, *words: str | int) -> Any:
        """Send one command and return its answer: str, int, list or None."""
        parts = [str(word).encode() for word in words]
        frame = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), frame))
        return self._read()

    def _read(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest)
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            text = self._file.read(size + 2)
            if len(text) < size + 2:
                raise ConnectionError("the server closed the connection in the middle of an answer")
            return text[:-2].decode(errors="replace")
        return [self._read() for _ in range(size)]


def info(connection: Connection, section: str) -> dict[str, str]:
    """One section of INFO as a dictionary."""
    lines = connection.call("INFO", section).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
