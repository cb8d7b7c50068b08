"""A replica whose WAL the primary no longer has: by a fresh copy, or by WAL of its own. Real Patroni and PostgreSQL."""

from __future__ import annotations

import shlex
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from tests.backend.kit.patroni import Member, Members
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.apiserver.kit.server import BareCluster

START_SECONDS = 180
SEGMENTS = 20  # more than what the settings keep
MEND_SECONDS = 180
RUNBOOK = Path(__file__).parents[2] / "docs" / "runbooks" / "ReplicaMissing.md"
WAITS_OF_CHECKPOINTER = b"SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'checkpointer'"


@pytest.fixture
def pair(tmp_path: Path, bare_cluster: BareCluster) -> Iterator[tuple[Member, Member]]:
    """A primary, and its replica that streams."""
    members = Members(bare_cluster, f"fresh-copy-{uuid4().hex[:6]}")
    primary, replica = (Member(members, number, tmp_path / str(number)) for number in (0, 1))
    try:
        primary.start()
        wait_until(lambda: primary.states().get(primary.name) == "leader running", "a primary", START_SECONDS)
        wait_until(lambda: writes(primary), "it writes")
        primary.execute("CREATE TABLE kept (number int)")
        replica.start()
        # Any other one would not take over.
        wait_until(lambda: primary.states().get(replica.name) == "sync_standby streaming", "a replica", START_SECONDS)
        yield primary, replica
    finally:
        replica.stop()
        primary.stop()


def streams(primary: Member, replica: Member) -> bool:
    return primary.states().get(replica.name, "").endswith(" streaming")


def writes(member: Member) -> bool:
    with psycopg.connect(member.dsn) as connection:
        return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def slots(member: Member) -> list[tuple[str, str]]:
    with psycopg.connect(member.dsn) as connection:
        return connection.execute("SELECT slot_name, wal_status FROM pg_replication_slots").fetchall()


def write_segments(member: Member, number: int) -> None:
    """So many segments of WAL, without so much data."""
    member.execute(*("INSERT INTO kept VALUES (0)", "SELECT pg_switch_wal()") * number)


def is_mended(primary: Member, replica: Member) -> bool:
    """Whether the replica streams, and has what the primary has."""
    if not streams(primary, replica):
        return False
    with psycopg.connect(primary.dsn) as source, psycopg.connect(replica.dsn) as copy:
        question = b"SELECT count(*), max(number) FROM kept"
        return source.execute(question).fetchone() == copy.execute(question).fetchone()


def test_a_replica_that_was_away_for_too_long(pair: tuple[Member, Member]) -> None:
    """It serves what it has, and its slot is lost."""
    primary, replica = pair
    replica.stop()
    write_segments(primary, SEGMENTS)
    primary.execute("CHECKPOINT", "CHECKPOINT")
    replica.start()
    wait_until(lambda: "asks for a fresh copy" in replica.log, "the replica asks for a copy", MEND_SECONDS)
    wait_until(lambda: is_mended(primary, replica), "a fresh copy", MEND_SECONDS)
    assert slots(primary) == [("shop_postgres_1", "reserved")], "it holds WAL for the next absence"
    assert replica.log.count("asks for a fresh copy") == 1
    assert "asks for a fresh copy" not in primary.log


def test_a_fresh_copy_by_hand_as_the_runbook_has_it(pair: tuple[Member, Member]) -> None:
    primary, replica = pair
    replica.stop()
    write_segments(primary, SEGMENTS)
    primary.execute("CHECKPOINT", "CHECKPOINT")
    replica.start(with_agent=False)  # which would ask by itself
    wait_until(lambda: "has already been removed" in replica.log, "the replica finds its WAL gone", MEND_SECONDS)
    lines = [line for line in RUNBOOK.read_text().splitlines() if line.startswith("kubectl exec")]
    look, copy_anew = [words_in_the_pod(line, replica.name) for line in lines]
    assert replica.name in primary.run(*look)
    primary.run(*copy_anew)
    wait_until(lambda: is_mended(primary, replica), "a fresh copy", MEND_SECONDS)


def words_in_the_pod(line: str, pod: str) -> list[str]:
    """What `kubectl exec` of a runbook runs, about this pod; the tests have Patroni's configuration elsewhere."""
    command = line.partition(" -- ")[2].replace("NAME-", "shop-").replace("POD", pod)
    return shlex.split(command.replace("/etc/patroni/", "/scratch/"))


def is_stopped_in_a_pause(member: Member, connection: psycopg.Connection) -> bool:
    """Stop a checkpoint where it holds no lock: whoever writes would wait for it, too."""

    def pauses() -> bool:
        return connection.execute(WAITS_OF_CHECKPOINTER).fetchone() == ("CheckpointWriteDelay",)

    if not pauses():
        return False
    member.signal("checkpointer", signal.SIGSTOP)
    if pauses():
        return True
    member.signal("checkpointer", signal.SIGCONT)
    return False


def test_a_rewound_member_begins_with_wal_of_its_own(pair: tuple[Member, Member]) -> None:
    """The checkpoint that it goes back to began before what the new primary has.

    Crash recovery comes before a rewind, and removes WAL, too: only what is kept for others outlives it.
    """
    old, new = pair
    old.execute("ALTER SYSTEM SET wal_keep_size = '512MB'")
    old.execute("INSERT INTO kept SELECT generate_series(1, 50000)")  # the checkpoint pauses after each of their pages
    with ThreadPoolExecutor(1) as pool, psycopg.connect(old.dsn, autocommit=True) as connection:
        slow = pool.submit(old.execute, "SELECT pg_backup_start('a checkpoint that takes its time')")
        wait_until(lambda: is_stopped_in_a_pause(old, connection), "the checkpoint is held up")
        try:
            write_segments(old, SEGMENTS)
            old.execute("ALTER SYSTEM SET checkpoint_completion_target = 0", "SELECT pg_reload_conf()")
        finally:
            old.signal("checkpointer", signal.SIGCONT)
        slow.result()
    wait_until(lambda: is_mended(old, new), "the replica has all")
    new.signal("walreceiver", signal.SIGSTOP)
    old.execute("SET synchronous_commit = local; INSERT INTO kept SELECT generate_series(1, 200000)")
    old.stop()
    new.signal("walreceiver", signal.SIGCONT)  # what lies in the sockets is less than that
    wait_until(lambda: new.states().get(new.name) == "leader running", "another primary", START_SECONDS)
    wait_until(lambda: writes(new), "it writes")
    new.execute("CHECKPOINT", "CHECKPOINT")
    old.start()
    wait_until(lambda: is_mended(new, old), "the former primary streams", MEND_SECONDS)
    assert "pg_rewind: Done!" in old.log
    assert "asks for a fresh copy" not in old.log + new.log
