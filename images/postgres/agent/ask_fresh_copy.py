"""Has Patroni fetch a fresh copy where this replica needs WAL that the primary no longer has (fresh_copy.py)."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fresh_copy import (
    LONGEST_PAUSE_SECONDS,
    Suspicion,
    is_in_question,
    leader_of,
    pause_seconds,
    primary_of,
    replica_of,
    segment_read,
    slot_of,
)
from patroni_api import ask

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path("/var/lib/postgresql/data/pgdata")
POLL_SECONDS = 5.0
COMMAND_SECONDS = 10.0
ANSWER_SECONDS = 10.0  # Patroni asks its store first
REFUSED_SECONDS = 30.0
# A server that is no primary fails at its first line. A slot in use has no time at which it was left.
STATE = """
SELECT json_build_object(
    'lsn', pg_current_wal_flush_lsn(),
    'file', pg_walfile_name(pg_current_wal_flush_lsn()),
    'system', (SELECT system_identifier::text FROM pg_control_system()),
    'kept', (SELECT json_agg(right(name, 16)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'),
    'slots', (SELECT json_object_agg(slot_name, inactive_since) FROM pg_replication_slots
              WHERE slot_type = 'physical' AND NOT active))
"""
# A slot that has lost its WAL holds none ever again, not for the copy either. One statement: nobody finds it missing.
RENEW_SLOT = """
WITH lost AS (SELECT slot_name, pg_drop_replication_slot(slot_name) FROM pg_replication_slots
              WHERE slot_name = :'slot' AND wal_status = 'lost' AND NOT active)
SELECT pg_create_physical_replication_slot(slot_name, true) FROM lost
"""


def run(command: list[str], text: str = "", **environment: str) -> str:
    """One program of PostgreSQL to its end, with its input; what it printed."""
    environment = {**os.environ, "LC_ALL": "C", **environment}
    return subprocess.run(
        command, env=environment, input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True
    ).stdout


def postmaster_of(data: Path) -> int:
    """The first process of the server on that directory; raises OSError without one."""
    return int((data / "postmaster.pid").read_text().split("\n", 1)[0])


def titles_below(parent: int) -> list[str]:
    """What the children of a process call themselves."""
    titles = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                titles.append(status.with_name("cmdline").read_text().rstrip("\0 "))
        except (OSError, IndexError):
            continue  # it ended meanwhile
    return titles


def query(leader: Mapping[str, Any], sql: str, me: str) -> str:
    """What the leader's server answers; `slot` in the statement is this member's."""
    command = ["psql", "-XAtq", "-h", leader["host"], "-p", str(leader["port"]), "-d", "postgres"]
    account = {
        "PGUSER": os.environ["PATRONI_SUPERUSER_USERNAME"],
        "PGPASSWORD": os.environ["PATRONI_SUPERUSER_PASSWORD"],
    }
    limits = {"PGCONNECT_TIMEOUT": "3", "PGOPTIONS": "-c statement_timeout=5s"}
    return run([*command, "-v", "ON_ERROR_STOP=1", "-v", f"slot={slot_of(me)}"], sql, **account, **limits)


def look(me: str, suspicion: Suspicion, data: Path = DATA) -> Suspicion:
    """One look at this member and, where it does not stream, at its leader; raises where one of them gave no answer."""
    cluster = ask("GET", "/cluster")
    if not is_in_question(cluster, me):
        return Suspicion()
    leader = leader_of(cluster, me)
    segment = segment_read(titles_below(postmaster_of(data)))
    if leader is None or not segment:
        return Suspicion()
    replica = replica_of(run(["pg_controldata", str(data)]), segment)
    return suspicion.look(leader["name"], replica, primary_of(json.loads(query(leader, STATE, me)), me))


def renew_slot(me: str, name: str) -> None:
    """Give this member a slot that holds WAL again; raises without one."""
    leader = leader_of(ask("GET", "/cluster"), me)
    if leader is None or leader["name"] != name:
        raise OSError(f"{name} does not lead any more")
    query(leader, RENEW_SLOT, me)


def main(me: str, say: Any) -> None:
    """Look, and ask Patroni; for ever. Patroni refuses where it has no leader, or leads itself.

    It is forced: for a minute it waits for the start of the very server that cannot start without this WAL.
    """
    suspicion, not_before, asked_at, copies = Suspicion(), 0.0, 0.0, 0
    while True:
        time.sleep(POLL_SECONDS)
        try:
            suspicion = look(me, suspicion)
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError):
            suspicion = Suspicion()  # somebody is starting, stopping or slow: what is not seen is no evidence
        now = time.monotonic()
        if not suspicion.is_certain or now < not_before:
            continue
        leader, _, segment = suspicion.about
        say(f"needs WAL segment {segment}, which {leader} has removed: asks for a fresh copy of the database")
        suspicion = Suspicion()
        try:
            renew_slot(me, leader)
            ask("POST", "/reinitialize", {"force": True}, ANSWER_SECONDS)
        except (OSError, subprocess.SubprocessError, KeyError, AttributeError) as error:
            say(f"the fresh copy was not begun: {error}")
            not_before = now + REFUSED_SECONDS
            continue
        copies = copies + 1 if copies and now - asked_at < 2 * LONGEST_PAUSE_SECONDS else 1
        asked_at, not_before = now, now + pause_seconds(copies)
