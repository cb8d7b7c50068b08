"""The liveness probe: is the Erlang machine alive? It asks only that, so a node that waits for others is left alone.

A node that is paused in a minority, or waits for its peers at start, has closed its AMQP door and is right to wait:
killing it would help nobody. Its Erlang machine still answers the first word of the distribution protocol. A frozen
one does not, though the kernel goes on to accept connections for it.
"""

import socket
import struct
import sys

DISTRIBUTION_PORT = 25672
TIMEOUT_SECONDS = 8.0
# What a node says first (OTP 23 and later): N, flags, creation, name. The answer comes before any secret is needed.
NAME_ME = 1 << 33  # "give me a name": with it the name would have another form, and we be hung up on
ALL_FLAGS = (2**64 - 1) & ~NAME_ME
NAME = b"probe@localhost"
HELLO = b"N" + struct.pack(">QIH", ALL_FLAGS, 1, len(NAME)) + NAME


def is_alive(host: str, port: int, timeout_seconds: float) -> bool:
    """Whether an Erlang machine answers: with its status, whatever that is."""
    try:
        with socket.create_connection((host, port), timeout_seconds) as connection:
            connection.settimeout(timeout_seconds)
            connection.sendall(struct.pack(">H", len(HELLO)) + HELLO)
            with connection.makefile("rb") as answer:  # which reads until it has three bytes: they may come one by one
                return answer.read(3)[2:] == b"s"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_alive("127.0.0.1", DISTRIBUTION_PORT, TIMEOUT_SECONDS) else 1)
