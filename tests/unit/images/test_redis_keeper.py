"""The keeper's connection against a real socket: what it parses, and that it never waits for the dead."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from appstack_redis import record as records
from appstack_redis import server
from appstack_redis.decide import PATIENCE_SECONDS, Answer, Member
from appstack_redis.resp import Connection, RedisError, info
from appstack_redis.server import Keeper, have_caught_up
from appstack_redis.settings import Group, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    with a_server(b"+OK\r\n", master) as (port, heard), Connection("127.0.0.1", port, "secret") as connection:
        assert connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "a.b") == ["10.0.0.1", "6379"]
    assert heard[0] == b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"


def test_a_refusal_is_an_error_with_the_server_s_words() -> None:
    with (
        a_server(b"-NOGOODSLAVE No suitable replica\r\n") as (port, _),
        Connection("127.0.0.1", port, "") as connection,
        pytest.raises(RedisError, match="NOGOODSLAVE"),
    ):
        connection.call("SENTINEL", "FAILOVER", "a.b")


def test_a_section_of_info_becomes_a_dictionary() -> None:
    text = b"# Replication\r\nrole:slave\r\nmaster_link_status:up\r\n"
    answer = b"$%d\r\n%s\r\n" % (len(text), text)
    with a_server(answer) as (port, _), Connection("127.0.0.1", port, "") as connection:
        assert info(connection, "replication") == {"role": "slave", "master_link_status": "up"}


def test_nil_is_none() -> None:
    with a_server(b"*-1\r\n") as (port, _), Connection("127.0.0.1", port, "") as connection:
        assert connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "unknown") is None


def test_a_frozen_server_costs_one_time_limit() -> None:
    listener = socket.create_server(("127.0.0.1", 0))  # takes connections, never answers
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        Connection("127.0.0.1", listener.getsockname()[1], "secret", timeout_seconds=0.2)
    assert time.monotonic() - began < 1
    listener.close()


def test_a_server_that_dies_in_the_middle_of_an_answer_has_not_answered() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            client.sendall(b"$100\r\n# Replication\r\nro")

    threading.Thread(target=serve, daemon=True).start()
    with Connection("127.0.0.1", listener.getsockname()[1], "") as connection, pytest.raises(ConnectionError):
        info(connection, "replication")
    listener.close()


LINKED, LOST = {"master_link_status": "up"}, {"master_link_status": "down", "slave_repl_offset": "40"}


@pytest.mark.parametrize(
    ("heirs", "caught_up"),
    [
        ([{**LINKED, "slave_repl_offset": "100"}, LOST], True),
        ([{**LINKED, "slave_repl_offset": "100"}, {}], True),
        ([{**LINKED, "slave_repl_offset": "100"}, {**LINKED, "slave_repl_offset": "99"}], False),
        ([LINKED], False),
        ([LOST, {}], False),
    ],
    ids=["one without a link", "one that is silent", "one is behind", "one does not say", "nobody is linked"],
)
def test_a_stop_waits_for_those_alone_that_can_catch_up(heirs: list[dict[str, str]], caught_up: bool) -> None:
    assert have_caught_up(heirs, 100) is caught_up


@pytest.mark.parametrize(
    ("handed_over", "answer", "asked", "ended_by"),
    [
        (True, b"", [b"SHUTDOWN", b"NOSAVE", b"NOW", b"FORCE"], signal.SIGKILL),
        (True, b"-ERR Errors trying to SHUTDOWN\r\n", [b"SHUTDOWN", b"NOSAVE", b"NOW", b"FORCE"], signal.SIGTERM),
        (False, b"", [], signal.SIGTERM),
    ],
    ids=["replaced", "replaced, but it refuses", "not replaced"],
)
def test_a_server_that_was_replaced_lets_its_clients_go_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    handed_over: bool,
    answer: bytes,
    asked: list[bytes],
    ended_by: signal.Signals,
) -> None:
    process = subprocess.Popen(["sleep", "60"])
    listener, heard = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            heard.extend(client.recv(4096).split(b"\r\n")[2::2])
            if answer:
                client.sendall(answer)
            else:
                process.kill()  # this one ended by itself

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setattr(server, "REDIS_PORT", listener.getsockname()[1])
    keeper = Keeper(Settings("shop-redis-0", "", tmp_path, tmp_path, tmp_path))
    monkeypatch.setattr(keeper, "hand_over", lambda: handed_over)
    keeper.server, began = process, time.monotonic()
    monkeypatch.setattr(server, "REFUSE_SECONDS", 0.5)
    keeper.shut_down()
    assert (time.monotonic() - began >= 0.5) is handed_over, "its address refuses clients for a while"
    assert heard == asked
    assert process.returncode == -ended_by
    listener.close()


@pytest.mark.parametrize("lost_seconds", [PATIENCE_SECONDS - 1, PATIENCE_SECONDS + 1])
def test_a_replica_that_waited_in_vain_ends_its_server_and_remembers_the_last_second_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_seconds: float
) -> None:
    me, master = "shop-redis-0", "shop-redis-1"
    group = Group("shop.shop", {me: "10.0.0.1", master: "10.0.0.2"}, {"shop-redis-sentinel-0": "10.0.1.1"}, 1)
    monkeypatch.setattr(server, "ask_sentinels", lambda *_: [Answer("shop-redis-sentinel-0", "10.0.0.2")])
    monkeypatch.setattr(server, "ask_members", lambda *_, **__: {master: Member(master, 4, 90, was_master=True)})
    keeper = Keeper(Settings(me, "", tmp_path, tmp_path, tmp_path))
    keeper.member, keeper._lineage, keeper._linked = Member(me, 4, 100, in_sync=True), "a", 1000.0
    keeper._answered = keeper._linked + lost_seconds
    with subprocess.Popen(["sleep", "60"]) as keeper.server:
        facts = {"master_replid": "a", "slave_repl_offset": "150", "master_host": "10.0.0.2"}
        keeper.observe_lost_replica(group, facts, 900.0)
        assert records.load(keeper.record_path) == records.Record(4, 150)
        if lost_seconds > PATIENCE_SECONDS:
            assert keeper.server.wait(5) == -signal.SIGTERM
        else:
            assert keeper.server.poll() is None
            keeper.server.kill()
