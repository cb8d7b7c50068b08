"""The chaos harness' clients of Redis, on real servers and Sentinels: what they write down tells who took a write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.exceptions import RedisError

from tests.backend.kit.processes import wait_until
from tests.backend.kit.redis_group import PODS, SENTINELS, redis_group, wait_for_an_heir
from tests.backend.kit.servers import PASSWORD
from tests.chaos.clients import redis as clients
from tests.chaos.clients.record import Recorder
from tests.chaos.clients.redis import Reader, Writer, connect
from tests.chaos.clients.target import Redis as Place
from tests.chaos.history import Action, Operation, Outcome, read_history
from tests.chaos.reigns import Blow, judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ME, HEIR, _ = PODS
OURS, HEIRS = PODS[ME], PODS[HEIR]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A master, its linked replica, and the Sentinels; `-rw` leads to the master."""
    with redis_group(tmp_path, monkeypatch, me=ME, master=ME, follows={HEIR: ME}) as group:
        monkeypatch.setattr(clients, "REDIS_PORT", group.port)
        monkeypatch.setattr(clients, "SENTINEL_PORT", group.sentinel_port)
        wait_until(lambda: is_linked(HEIRS), "the replica is linked")
        wait_for_an_heir(group)
        yield Place(list(SENTINELS.values()), "shop.shop", OURS, PASSWORD)


def is_linked(address: str) -> bool:
    try:
        with connect(address, PASSWORD) as server:
            return bool(server.info("replication").get("master_link_status") == "up")
    except RedisError:
        return False


def tell(address: str, *command: str | int) -> None:
    with connect(address, PASSWORD) as server:
        server.execute_command(*command)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder("redis-held", tmp_path / "redis-held.jsonl")


def push(recorder: Recorder, writer: Writer, numbers: range) -> list[Outcome]:
    """Write, and write it down as a client of the load does."""
    found = []
    for n in numbers:
        recorder.attempt(Action.APPEND, writer.key(n), lambda n=n: writer.push(n), lambda: writer.server)  # type: ignore[misc]
        found.append(written(recorder)[-1].outcome)
    return found


def written(recorder: Recorder) -> list[Operation]:
    return list(read_history(recorder.path))


def test_a_second_master_beside_the_first_is_seen_in_the_histories(place: Place, recorder: Recorder) -> None:
    old, new = Writer(place, "redis-held"), Writer(place, "redis-held", HEIRS)
    assert set(push(recorder, old, range(3))) == {Outcome.OK}
    tell(HEIRS, "REPLICAOF", "NO", "ONE")
    assert set(push(recorder, new, range(3, 6))) == {Outcome.OK}
    assert set(push(recorder, old, range(6, 9))) == {Outcome.OK}, "its connection is held"
    tell(OURS, "REPLICAOF", HEIRS, clients.REDIS_PORT)
    assert push(recorder, old, range(9, 10)) == [Outcome.FAILED], "demoted, it says READONLY"
    old.close()
    new.close()
    history = written(recorder)
    servers = [operation.server for operation in history]
    assert servers[0] == servers[2] == servers[6] == servers[8] != servers[3] == servers[5]
    assert servers[9] == "", "nobody took it"
    wait_until(lambda: is_linked(OURS), "the old master follows the new one")
    with connect(HEIRS, PASSWORD) as server:
        left = [int(item) for item in server.lrange(old.key(0), 0, -1)]
    final = [Operation("final", Action.READ_LIST, old.key(0), left, 1e9, 1e9, Outcome.OK)]
    judged = judge(history, final, Blow(history[2].end, history[2].end, may_lose=True))
    assert (judged.reigns, judged.acknowledged, judged.beside) == (2, 9, 3)
    assert left == [0, 1, 2, 3, 4, 5], "what the old one took beside the new one is gone"
    assert (judged.lost, judged.lost_within_lag) == (3, 3)
    assert judge(history, final, Blow(0.0, 0.0, may_lose=False)).lost_unexplained == 3


def test_a_reader_tells_from_whom_it_read(place: Place) -> None:
    writer, reader = Writer(place, "redis-held"), Reader(place, OURS)
    assert [writer.push(n)[1] for n in range(100)] == [Outcome.OK] * 100
    assert reader.count()[:2] == (1, Outcome.OK)
    assert reader.items("redis-held", writer.key(0))[:2] == (list(range(100)), Outcome.OK)
    assert [reader.key("redis-held", 100, look) for look in (0, 1)] == [writer.key(100), writer.key(0)]
    assert reader.server == writer.server
    run = reader.server.partition("/")[0]
    tell(HEIRS, "REPLICAOF", "NO", "ONE")
    tell(OURS, "REPLICAOF", HEIRS, clients.REDIS_PORT)
    wait_until(lambda: is_linked(OURS), "the old master follows the new one")
    assert (reader.count()[1], reader.server) == (Outcome.OK, f"{run}/replica")
    writer.close()


def test_the_end_is_read_only_where_sentinels_the_service_and_the_replicas_agree(place: Place) -> None:
    writer = Writer(place, "redis-held")
    writer.push(0)
    writer.close()
    wait_until(lambda: is_read(place), "the replica holds it, too")
    assert clients.read_all(place) == {writer.key(0): [0]}
    elsewhere = Place(place.sentinels, place.master_name, HEIRS, place.password)
    with pytest.raises(RedisError, match=r"and -rw leads to .*/replica"):
        clients.read_all(elsewhere)
    tell(HEIRS, "CONFIG", "SET", "replica-read-only", "no")
    tell(HEIRS, "RPUSH", writer.key(0), 1)
    with pytest.raises(RedisError, match=f"the replica {HEIRS} does not hold"):
        clients.read_all(place)


def is_read(place: Place) -> bool:
    try:
        return bool(clients.read_all(place))
    except RedisError:
        return False
