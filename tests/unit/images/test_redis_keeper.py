"""How a keeper ends its server: one that was replaced, and one that waits in vain for a master."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from appstack_redis import keeper as keeping
from appstack_redis import record as records
from appstack_redis.decide import PATIENCE_SECONDS, PATIENCE_WITH_SILENCE_SECONDS, Answer, Member
from appstack_redis.keeper import Keeper
from appstack_redis.settings import Group, Settings

if TYPE_CHECKING:
    from pathlib import Path


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
    process = subprocess.Popen(["sleep", "20"])
    listener, heard = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # nobody came
            return
        with client:
            heard.extend(client.recv(4096).split(b"\r\n")[2::2])
            if answer:
                client.sendall(answer)
            else:
                process.kill()  # this one ended by itself

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    monkeypatch.setattr(keeping, "REDIS_PORT", listener.getsockname()[1])
    keeper = Keeper(Settings("shop-redis-0", "", tmp_path, tmp_path, tmp_path))
    monkeypatch.setattr(keeping, "hand_over", lambda *_: handed_over)
    keeper.server, pauses = process, list[float]()
    monkeypatch.setattr(keeping, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    keeper.shut_down()
    listener.shutdown(socket.SHUT_RDWR)  # whom nobody asked waits no longer
    server.join(60)
    listener.close()
    assert (pauses == [keeping.REFUSE_SECONDS]) is handed_over, "its address refuses clients for a while"
    assert heard == asked
    assert process.returncode == -ended_by


@pytest.mark.parametrize("lost_seconds", [PATIENCE_SECONDS - 1, PATIENCE_SECONDS + 1])
def test_a_replica_that_waited_in_vain_ends_its_server_and_remembers_the_last_second_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_seconds: float
) -> None:
    me, master = "shop-redis-0", "shop-redis-1"
    group = Group("shop.shop", {me: "10.0.0.1", master: "10.0.0.2"}, {"shop-redis-sentinel-0": "10.0.1.1"}, 1)
    monkeypatch.setattr(keeping, "ask_sentinels", lambda *_: [Answer("shop-redis-sentinel-0", "10.0.0.2")])
    monkeypatch.setattr(keeping, "ask_members", lambda *_, **__: {master: Member(master, 4, 90, was_master=True)})
    keeper = Keeper(Settings(me, "", tmp_path, tmp_path, tmp_path))
    keeper.member, keeper._lineage, keeper._linked = Member(me, 4, 100, in_sync=True), "a", 1000.0
    keeper._answered = keeper._linked + lost_seconds
    with subprocess.Popen(["sleep", "20"]) as keeper.server:
        facts = {"master_replid": "a", "slave_repl_offset": "150", "master_host": "10.0.0.2"}
        keeper.observe_lost_replica(group, facts, 900.0)
        assert records.load(keeper.record_path) == records.Record(4, 150)
        if lost_seconds > PATIENCE_SECONDS:
            assert keeper.server.wait(60) == -signal.SIGTERM
        else:
            assert keeper.server.poll() is None
            keeper.server.kill()


@pytest.mark.parametrize(
    ("named", "link", "restarts"),
    [
        pytest.param(3, "down", True, id="nobody is linked to it"),
        pytest.param(3, "up", False, id="another replica still is"),
        pytest.param(3, None, False, id="another replica does not say"),
        pytest.param(1, "down", False, id="one Sentinel alone names it"),
    ],
)
def test_a_replica_starts_anew_where_the_named_master_stays_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: int, link: str | None, restarts: bool
) -> None:
    """Its node is gone for good, and the Sentinels that came back later promote nobody."""
    me, gone, other = (f"shop-redis-{number}" for number in range(3))
    sentinels = {f"shop-redis-sentinel-{number}": f"10.0.1.{number}" for number in range(3)}
    group = Group("shop.shop", {me: "10.0.0.1", gone: "10.0.0.2", other: "10.0.0.3"}, sentinels, 1)
    answers = [Answer(each, "10.0.0.2") for each in list(sentinels)[:named]]
    monkeypatch.setattr(keeping, "ask_sentinels", lambda *_: answers)
    monkeypatch.setattr(keeping, "ask_member", lambda *_: None)
    there = {other: Member(other, 4, 90, serves="replica", in_sync=True)}
    monkeypatch.setattr(keeping, "ask_members", lambda *_, **__: there)
    said = {"10.0.0.3": {"master_link_status": link} if link else {}}
    monkeypatch.setattr(keeping, "replication_of", lambda address, _: said[address])
    keeper = Keeper(Settings(me, "", tmp_path, tmp_path, tmp_path))
    keeper.member, keeper._lineage, keeper._linked = Member(me, 4, 100, in_sync=True), "a", 1000.0
    keeper._answered = keeper._linked + PATIENCE_WITH_SILENCE_SECONDS + 1
    with subprocess.Popen(["sleep", "20"]) as keeper.server:
        facts = {"master_replid": "a", "slave_repl_offset": "100", "master_host": "10.0.0.2"}
        keeper.observe_lost_replica(group, facts, 900.0)
        if restarts:
            assert keeper.server.wait(60) == -signal.SIGTERM
        else:
            assert keeper.server.poll() is None
            keeper.server.kill()


def test_a_promoted_member_leads_also_where_its_disk_takes_no_writes(tmp_path: Path) -> None:
    """What it says of itself is what others follow it by."""
    gone = tmp_path / "gone"
    keeper = Keeper(Settings("shop-redis-0", "", tmp_path, gone, tmp_path))
    keeper.member = Member("shop-redis-0", 4, 100, serves="replica", in_sync=True)
    group = Group("shop.shop", {"shop-redis-0": "10.0.0.1"}, {}, 0)
    keeper.observe_master(group, {"master_replid": "a", "master_repl_offset": "120", "connected_slaves": "0"})
    assert keeper.member == Member("shop-redis-0", 5, 120, was_master=True, serves="master", in_sync=True)


@pytest.mark.parametrize(("linked", "asks"), [("0", True), ("1", True), ("2", False)])
def test_a_master_that_half_of_its_group_has_left_asks_whether_another_one_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str, asks: bool
) -> None:
    asked: list[Group] = []
    monkeypatch.setattr(keeping, "ask_until_agreed", lambda group, _: asked.append(group))
    group = Group("shop.shop", {f"shop-redis-{n}": f"10.0.0.{n}" for n in range(4)}, {}, 2)
    keeper = Keeper(Settings("shop-redis-0", "", tmp_path, tmp_path, tmp_path))
    keeper.member = Member("shop-redis-0", 4, 100, serves="master", in_sync=True)
    keeper._promoted = -keeping.NEW_MASTER_SECONDS
    keeper.observe_master(group, {"master_replid": "a", "master_repl_offset": "1", "connected_slaves": linked})
    assert bool(asked) is asks
    assert "min-replicas-to-write 2" in keeper.own_lines(group, "")
