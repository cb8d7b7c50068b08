"""The liveness probe tells a node that waits from one that is frozen."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest
from alive import HELLO, is_alive


def ask(answer: bytes | None, pause_seconds: float = 0.0, timeout_seconds: float = 60.0) -> bool:
    """Ask a node that takes the connection and gives this answer, with a pause between its bytes (None: is frozen)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            assert client.recv(4096)[2:] == HELLO
            if pause_seconds:
                for byte in answer or b"":
                    client.sendall(bytes([byte]))
                    time.sleep(pause_seconds)
            else:
                client.sendall(answer or b"")

    if answer is not None:
        threading.Thread(target=serve, daemon=True).start()
    try:
        return is_alive("127.0.0.1", listener.getsockname()[1], timeout_seconds)
    finally:
        listener.close()


def test_the_greeting_is_one_that_erlang_answers() -> None:
    kind, flags, _, length = struct.unpack(">cQIH", HELLO[:15])
    assert (kind, length) == (b"N", len(HELLO[15:]))
    assert not flags & 1 << 33  # with "name me" a whole node name is an error, and Erlang hangs up


@pytest.mark.parametrize("status", [b"ok", b"ok_simultaneous", b"nok", b"alive", b"not_allowed"])
def test_any_status_is_a_sign_of_life(status: bytes) -> None:
    assert ask(len(b"s" + status).to_bytes(2, "big") + b"s" + status)


def test_an_answer_may_come_in_pieces() -> None:
    assert ask(b"\0\3s", pause_seconds=0.05)


def test_a_frozen_node_takes_connections_and_says_nothing() -> None:
    assert not ask(None, timeout_seconds=0.3)


def test_who_hangs_up_or_speaks_otherwise_is_no_erlang_machine() -> None:
    assert not ask(b"")
    assert not ask(b"HTTP/1.1 400 Bad Request\r\n")


def test_nobody_at_the_port_is_death() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not is_alive("127.0.0.1", port, 0.3)
