"""A connection to Redis against a real socket: what it parses, and that it never waits for the dead."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from appstack_redis.resp import Connection, RedisError, info

if TYPE_CHECKING:
    from collections.abc import Iterator


def connect(port: int, password: str = "") -> Connection:
    """With more patience than a keeper has: the machine may be busy."""
    return Connection("127.0.0.1", port, password, 60.0)


@contextmanager
def a_server(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives these answers to one client, one per command, and keeps what it was sent."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            for answer in answers:
                heard.append(client.recv(4096))
                client.sendall(answer)
            client.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], heard
    listener.close()


def test_a_command_is_sent_in_its_parts_after_the_password() -> None:
    master = b"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n"
    with (
        a_server(b"+OK\r\n", master) as (port, heard),
        connect(port, "secret") as connection,
    ):
        assert connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "a.b") == ["10.0.0.1", "6379"]
    assert heard[0] == b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"


def test_a_refusal_is_an_error_with_the_server_s_words() -> None:
    with (
        a_server(b"-NOGOODSLAVE No suitable replica\r\n") as (port, _),
        connect(port) as connection,
        pytest.raises(RedisError, match="NOGOODSLAVE"),
    ):
        connection.call("SENTINEL", "FAILOVER", "a.b")


def test_a_section_of_info_becomes_a_dictionary() -> None:
    text = b"# Replication\r\nrole:slave\r\nmaster_link_status:up\r\n"
    answer = b"$%d\r\n%s\r\n" % (len(text), text)
    with a_server(answer) as (port, _), connect(port) as connection:
        assert info(connection, "replication") == {"role": "slave", "master_link_status": "up"}


def test_nil_is_none() -> None:
    with a_server(b"*-1\r\n") as (port, _), connect(port) as connection:
        assert connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "unknown") is None


def test_a_frozen_server_costs_one_time_limit() -> None:
    listener = socket.create_server(("127.0.0.1", 0))  # takes connections, never answers
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        Connection("127.0.0.1", listener.getsockname()[1], "secret", timeout_seconds=0.2)
    assert time.monotonic() - began < 30, "for ever, without a limit"
    listener.close()


def test_a_server_that_dies_in_the_middle_of_an_answer_has_not_answered() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            client.sendall(b"$100\r\n# Replication\r\nro")

    threading.Thread(target=serve, daemon=True).start()
    with (
        connect(listener.getsockname()[1]) as connection,
        pytest.raises(ConnectionError),
    ):
        info(connection, "replication")
    listener.close()
