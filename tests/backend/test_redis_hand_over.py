"""A master that is told to stop, on real servers and Sentinels: the next one has all that was acknowledged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from appstack_redis import ask, disk, timing
from appstack_redis import hand_over as handing
from appstack_redis.decide import Member
from appstack_redis.keeper import Keeper
from appstack_redis.resp import Connection, RedisError, info

from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.kit.redis_group import (
    PODS,
    SENTINELS,
    redis_group,
    settings_of,
    tell,
    wait_for_an_heir,
    wait_for_group,
)
from tests.backend.kit.servers import PASSWORD, REDIS_USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from appstack_redis.settings import Group

    from tests.backend.kit.redis_group import RedisGroup

ME, HEIR, OTHER = PODS
LAST = list(SENTINELS)[-1]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisGroup]:
    with redis_group(tmp_path, monkeypatch, me=ME, master=ME, follows={HEIR: ME}) as running:
        yield running


@pytest.fixture
def keeper(tmp_path: Path, group: RedisGroup) -> Iterator[Keeper]:
    """That of the master, once its replica is linked."""
    keeper = Keeper(settings_of(ME, tmp_path))
    keeper._announced = PODS[ME]
    wait_for_group(keeper)
    wait_until(lambda: replication(HEIR).get("master_link_status") == "up", "the replica is linked")
    wait_for_an_heir(group)
    yield keeper
    keeper.disconnect()


def replication(pod: str) -> dict[str, str]:
    return handing.replication_of(PODS[pod], PASSWORD)


class Writer(threading.Thread):
    """One client of the master that counts up until it is told anything else than OK."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.acknowledged = 0
        self.ended_by = ""

    def run(self) -> None:
        try:
            with Connection("127.0.0.1", self.port, PASSWORD, PATIENCE_SECONDS) as connection:
                while connection.call("SET", f"row-{self.acknowledged}", "x") == "OK":
                    self.acknowledged += 1
        except (OSError, RedisError) as error:
            self.ended_by = str(error)


def test_what_was_acknowledged_before_a_planned_stop_is_at_the_next_master(
    keeper: Keeper,
    group: RedisGroup,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(handing, "HAND_OVER_SECONDS", PATIENCE_SECONDS)  # a pod has ten seconds, a busy machine more
    monkeypatch.setattr(handing, "CATCH_UP_SECONDS", PATIENCE_SECONDS / 2)
    gathered: list[object] = []
    monkeypatch.setattr(handing, "gather", lambda addresses, _: gathered.extend(addresses))
    tell(Member(HEIR, 1, 10, serves="replica", in_sync=True))
    writer = Writer(group.port)
    writer.start()
    wait_until(lambda: writer.acknowledged > 100, "rows are written")
    begun = time.monotonic()
    assert handing.hand_over(keeper.settings, keeper.connection, keeper._announced)
    record_property("measured", f"{time.monotonic() - begun:.2f} s, of which writes waited {waited(caplog):.2f} s")
    assert replication(HEIR)["role"] == "master"
    assert PODS[HEIR] in gathered
    assert [name for name in SENTINELS if "+promoted-slave" in said_by(name, group)] == [LAST], "whom clients ask last"
    assert info_period(group) == "10000", "as it was"
    assert handing.ends_at_once(keeper.connection)
    assert group.servers[ME].process.wait(PATIENCE_SECONDS) == 0
    writer.join(PATIENCE_SECONDS)
    assert writer.ended_by, "the client was let go"
    with group.server(HEIR) as connection:
        assert connection.call("DBSIZE") >= writer.acknowledged


def test_another_sentinel_is_asked_where_the_one_that_agreed_ends(
    keeper: Keeper, group: RedisGroup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A drain ended it ten milliseconds after its word, and writes were held for nine seconds."""
    caplog.set_level("INFO")
    monkeypatch.setattr(handing, "HAND_OVER_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(handing, "gather", lambda *_: None)
    monkeypatch.setattr(handing, "ask_failover", agreed := EndsAfterItsWord(group))
    tell(Member(HEIR, 1, 10, serves="replica", in_sync=True))
    assert handing.hand_over(keeper.settings, keeper.connection, keeper._announced)
    assert agreed.by[0] == SENTINELS[LAST]
    assert len(agreed.by) >= 2
    assert "+promoted-slave" not in said_by(LAST, group)
    assert replication(HEIR)["role"] == "master"


class EndsAfterItsWord:
    """The first Sentinel that agrees is killed at once."""

    def __init__(self, group: RedisGroup) -> None:
        self.group, self.by = group, list[str]()

    def __call__(self, group: Group, password: str) -> tuple[str, str]:
        sentinel, refusal = ask.ask_failover(group, password)
        if sentinel:
            self.by.append(sentinel)
        if len(self.by) == 1:
            os.kill(self.group.servers[LAST].pid, signal.SIGKILL)
        return sentinel, refusal


def test_the_other_replicas_are_led_to_the_next_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentinel leaves it to those that came back a moment ago, as all others have in a rolling restart."""
    with redis_group(tmp_path, monkeypatch, me=ME, master=ME, follows={HEIR: ME, OTHER: ME}) as group:
        wait_until(lambda: replication(HEIR).get("master_link_status") == "up", "the heir is linked")
        wait_until(lambda: replication(OTHER).get("master_link_status") == "up", "the other one is linked")
        handing.gather([PODS[HEIR], PODS[OTHER]], PASSWORD)
        assert replication(OTHER)["master_host"] == PODS[ME], "nobody leads yet"
        with group.server(HEIR) as connection:
            connection.call("REPLICAOF", "NO", "ONE")
        handing.gather([PODS[HEIR], PODS[OTHER], "127.0.1.99"], PASSWORD)
        assert replication(OTHER)["master_host"] == PODS[HEIR]
        assert replication(HEIR)["role"] == "master"


def info_period(group: RedisGroup) -> str:
    """Milliseconds between two questions of the Sentinel that led."""
    with group.sentinel(SENTINELS[LAST]) as connection:
        settings = connection.call("SENTINEL", "DEBUG")
    return str(settings[settings.index("INFO-PERIOD") + 1])


def test_what_a_pod_leaves_that_is_killed_while_it_hands_over_is_put_right(keeper: Keeper, group: RedisGroup) -> None:
    with group.sentinel(SENTINELS[LAST]) as connection:
        connection.call("SENTINEL", "DEBUG", "INFO-PERIOD", timing.EAGER)
    timing.calm_down(SENTINELS[LAST], keeper.settings.password)
    assert info_period(group) == "10000"


def waited(caplog: pytest.LogCaptureFixture) -> float:
    """Seconds from the pause of all writes to the new master's name."""
    return float(next(each for each in caplog.messages if "handed over: True" in each).split()[-2])


def said_by(sentinel: str, group: RedisGroup) -> str:
    return (group.folder / sentinel / "log").read_text(errors="replace")


def test_a_replica_that_is_behind_is_not_promoted_by_a_planned_stop(
    keeper: Keeper, group: RedisGroup, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever is promoted without all that was acknowledged makes the rest vanish."""
    tell(Member(HEIR, 1, 10, serves="replica", in_sync=True))
    heir = group.servers[HEIR].pid
    os.kill(heir, signal.SIGSTOP)
    try:
        for number in range(100):
            assert keeper.connection().call("SET", f"row-{number}", "x") == "OK"
        assert not handing.hand_over(keeper.settings, keeper.connection, keeper._announced)
    finally:
        os.kill(heir, signal.SIGCONT)
    assert not any("failover_in_progress" in flags_at(each, group) for each in SENTINELS.values())
    assert "no replica holds everything" in caplog.text
    # The plain stop that follows waits for it once more.
    os.kill(group.servers[ME].pid, signal.SIGTERM)
    group.servers[ME].process.wait(PATIENCE_SECONDS)
    with group.server(HEIR) as connection:
        assert connection.call("DBSIZE") == 100


def flags_at(sentinel: str, group: RedisGroup) -> str:
    """What a Sentinel thinks of the master."""
    with group.sentinel(sentinel) as connection:
        told = connection.call("SENTINEL", "MASTER", "shop.shop")
    return str(dict(zip(told[::2], told[1::2], strict=True))["flags"])


def test_a_master_that_nobody_can_replace_is_not_handed_over(keeper: Keeper) -> None:
    tell(Member(HEIR, 1, 10, serves="replica", in_sync=True, stopping=True))
    assert not handing.hand_over(keeper.settings, keeper.connection, keeper._announced)
    assert info(keeper.connection(), "replication")["role"] == "master"


def test_a_replica_has_nothing_to_hand_over(keeper: Keeper, group: RedisGroup) -> None:
    tell(Member(HEIR, 1, 10, serves="master", in_sync=True))
    keeper.connection().call("REPLICAOF", PODS[HEIR], group.port)
    assert not handing.hand_over(keeper.settings, keeper.connection, keeper._announced)


def limit_files(group: RedisGroup, pod: str, most: str) -> None:
    """From now on no file of this server can grow beyond this: what a full or broken disk looks like to it."""
    pid, user = group.servers[pod].pid, str(REDIS_USER)  # as itself: that needs no right
    itself = ("setpriv", "--reuid", user, "--regid", user, "--clear-groups")
    subprocess.run([*itself, "prlimit", "--pid", str(pid), f"--fsize={most}:"], check=True)


def write_to_file(group: RedisGroup, pod: str) -> None:
    """Have this server keep an append-only file."""
    with group.server(pod) as connection:
        connection.call("CONFIG", "SET", "appendonly", "yes")
        wait_until(
            lambda: info(connection, "persistence")["aof_rewrite_in_progress"] == "0", "the first file is written"
        )


def test_a_master_whose_disk_keeps_failing_is_replaced_and_nobody_promotes_it(
    keeper: Keeper, group: RedisGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "LASTING_SECONDS", 3.0)
    tell(Member(HEIR, 1, 10, serves="replica", in_sync=True))
    write_to_file(group, ME)
    limit_files(group, ME, "0")
    keeper.connection().call("SET", "last", "x")
    wait_until(lambda: not handing.disk_works(PODS[ME], PASSWORD), "the disk fails")
    with pytest.raises(RedisError, match="MISCONF"):
        keeper.connection().call("SET", "refused", "x")
    keeper.observe(60.0)
    assert info(keeper.connection(), "replication")["role"] == "master", "it may be over in a moment"

    def looks(role: str) -> bool:
        keeper.observe(60.0)
        return info(keeper.connection(), "replication")["role"] == role

    wait_until(lambda: looks("slave"), "the master makes room")
    assert replication(HEIR)["role"] == "master"
    with group.server(HEIR) as connection:
        assert connection.call("GET", "last") == "x"
    keeper.observe(60.0)
    assert priority(keeper) == "0"
    limit_files(group, ME, "unlimited")
    wait_until(lambda: looks("slave") and priority(keeper) == "100", "it may be promoted again")


def priority(keeper: Keeper) -> str:
    return str(keeper.connection().call("CONFIG", "GET", "replica-priority")[1])


def test_a_master_whose_disk_fails_stays_where_no_other_disk_works(keeper: Keeper, group: RedisGroup) -> None:
    """Full disks are full alike: a master that moved on would only add a pause to the errors."""
    tell(Member(HEIR, 1, 10, serves="replica", in_sync=True))
    write_to_file(group, HEIR)
    assert handing.disk_works(PODS[HEIR], PASSWORD)
    limit_files(group, HEIR, "0")
    keeper.connection().call("SET", "one", "x")
    wait_until(lambda: not handing.disk_works(PODS[HEIR], PASSWORD), "the disk fails")
    assert not handing.hand_over(keeper.settings, keeper.connection, PODS[ME], can_lead=handing.disk_works)
    assert info(keeper.connection(), "replication")["role"] == "master"


def test_a_master_follows_its_group_and_waits_for_the_replicas_that_it_will_need(
    keeper: Keeper, tmp_path: Path
) -> None:
    for needed, told in ((1, "1"), (2, "1"), (0, "0")):
        change_members(tmp_path, minReplicas=needed)
        keeper.observe(60.0)
        setting = keeper.connection().call("CONFIG", "GET", "min-replicas-to-write")
        assert setting[1] == told, "one replica is linked"


def change_members(folder: Path, **changes: int) -> None:
    """What the operator writes into the keepers' file."""
    path = folder / "members.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
