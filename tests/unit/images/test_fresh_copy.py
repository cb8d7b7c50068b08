"""When a replica asks for a fresh copy: rules only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fresh_copy
import pytest
from fresh_copy import Primary, Replica, Suspicion

ME, LEADER = "shop-postgres-1", "shop-postgres-0"
REPLICA = Replica(system="7", timeline=3, lsn=0x3_0000_0000, segment="0000000300000002")
PRIMARY = Primary(
    system="7",
    timeline=4,
    lsn=0x5_0000_0000,
    segment="0000000500000000",
    kept=frozenset({"0000000400000000", "0000000500000000", "0000000500000001"}),
    left_at="12:00:00",
)
LEADS = {"name": LEADER, "role": "leader", "state": "running", "host": "10.0.0.1", "port": 5432}
STARTS = {"name": ME, "role": "replica", "state": "starting"}


def suspicion_after(*looks: tuple[Replica, Primary], leader: str = LEADER) -> Suspicion:
    suspicion = Suspicion()
    for replica, primary in looks:
        suspicion = suspicion.look(leader, replica, primary)
    return suspicion


def asked(times: int, primary: Primary = PRIMARY) -> list[tuple[Replica, Primary]]:
    """The first look, and one after each time that the replica was sent away."""
    return [(REPLICA, replace(primary, left_at=f"12:00:{second:02}")) for second in range(times + 1)]


def test_a_replica_that_is_sent_away_three_times_is_certain() -> None:
    assert not suspicion_after(*asked(2)).is_certain
    assert suspicion_after(*asked(3)).is_certain


def test_time_alone_proves_nothing() -> None:
    """One that is slow, paused or cut off does not ask the primary."""
    assert not suspicion_after(*[(REPLICA, PRIMARY)] * 1000).is_certain


@pytest.mark.parametrize(
    ("replica", "primary"),
    [
        pytest.param({}, {"left_at": ""}, id="its slot is in use, or is not there"),
        pytest.param({}, {"kept": frozenset({REPLICA.segment})}, id="the primary has the segment"),
        pytest.param({"segment": PRIMARY.segment}, {}, id="the segment is the one that is being written"),
        pytest.param({"segment": "0000000500000009"}, {}, id="the segment is still to be written"),
        pytest.param({"lsn": PRIMARY.lsn + 1}, {}, id="the replica has more than the primary"),
        pytest.param({"timeline": 5}, {}, id="the replica is on a newer timeline"),
        pytest.param({"system": "8"}, {}, id="another database"),
    ],
)
def test_what_speaks_against_it_ends_the_suspicion(replica: dict[str, Any], primary: dict[str, Any]) -> None:
    looks = [
        (replace(mine, **replica), replace(theirs, **{"left_at": theirs.left_at, **primary}))
        for mine, theirs in asked(9)
    ]
    assert suspicion_after(*asked(2), *looks) == Suspicion()


@pytest.mark.parametrize("change", ["segment", "timeline", "leader"])
def test_whoever_makes_progress_or_meets_another_primary_is_counted_anew(change: str) -> None:
    before = suspicion_after(*asked(2))
    replica = replace(REPLICA, segment="0000000300000003") if change == "segment" else REPLICA
    primary = replace(PRIMARY, left_at="13:00:00", timeline=5 if change == "timeline" else PRIMARY.timeline)
    after = before.look("shop-postgres-2" if change == "leader" else LEADER, replica, primary)
    assert after.in_vain == 0


def test_one_at_the_same_position_may_be_copied() -> None:
    assert suspicion_after(*asked(3, replace(PRIMARY, lsn=REPLICA.lsn, timeline=REPLICA.timeline))).is_certain


@pytest.mark.parametrize(
    ("mine", "more", "is_in_question"),
    [
        pytest.param(STARTS, {}, True, id="starting"),
        pytest.param(STARTS | {"state": "running"}, {}, True, id="running without a link"),
        pytest.param(STARTS | {"role": "sync_standby"}, {}, True, id="still named as synchronous"),
        pytest.param(STARTS | {"state": "streaming"}, {}, False, id="streaming"),
        pytest.param(STARTS | {"state": "creating replica"}, {}, False, id="being copied"),
        pytest.param(STARTS | {"state": "stopped"}, {}, False, id="stopped"),
        pytest.param(STARTS | {"role": "leader"}, {}, False, id="leader"),
        pytest.param(STARTS | {"name": "shop-postgres-2"}, {}, False, id="not known to Patroni"),
        pytest.param(STARTS, {"pause": True}, False, id="paused by a person"),
    ],
)
def test_only_a_replica_that_runs_without_a_link_is_looked_at(
    mine: dict[str, Any], more: dict[str, Any], is_in_question: bool
) -> None:
    assert fresh_copy.is_in_question({"members": [LEADS, mine], **more}, ME) is is_in_question


def test_only_another_member_that_leads_and_runs_is_asked() -> None:
    assert fresh_copy.leader_of({"members": [LEADS, STARTS]}, ME) == LEADS
    assert fresh_copy.leader_of({"members": [LEADS | {"state": "starting"}, STARTS]}, ME) is None
    assert fresh_copy.leader_of({"members": [STARTS]}, ME) is None
    assert fresh_copy.leader_of({"members": [LEADS]}, LEADER) is None


@pytest.mark.parametrize(
    ("titles", "segment"),
    [
        (["postgres: shop-postgres: startup waiting for 0000000300000007000000A1"], "00000007000000A1"),
        (
            ["postgres: shop-postgres: checkpointer ", "postgres: startup recovering 000000010000000000000006"],
            "0000000000000006",
        ),
        (["postgres: shop-postgres: startup "], ""),
        (["postgres: shop-postgres: walreceiver streaming 0/6000278"], ""),
        ([], ""),
    ],
)
def test_the_title_of_the_startup_process_names_the_segment(titles: list[str], segment: str) -> None:
    assert fresh_copy.segment_read(titles) == segment


def test_pg_controldata_tells_what_a_replica_has() -> None:
    printed = """pg_control version number:            1300
Database system identifier:           7578
pg_control last modified:             Sun 29 Nov 2026 03:40:15 AM UTC
Latest checkpoint location:           1/80
Latest checkpoint's TimeLineID:       2
Minimum recovery ending location:     0/F0000000
Min recovery ending loc's timeline:   3
"""
    assert fresh_copy.replica_of(printed, "0000000000000002") == Replica("7578", 3, 0x1_0000_0080, "0000000000000002")


def test_the_primary_s_answer() -> None:
    answer = {
        "lsn": "5/0",
        "file": "000000040000000500000000",
        "system": "7",
        "kept": sorted(PRIMARY.kept),
        "slots": {"shop_postgres_1": "12:00:00", "shop_postgres_2": "11:00:00"},
    }
    assert fresh_copy.primary_of(answer, ME) == PRIMARY
    assert fresh_copy.primary_of({**answer, "slots": None}, ME).left_at == ""
    assert fresh_copy.primary_of({**answer, "slots": {"shop_postgres_1": None}}, ME).left_at == ""


def test_copies_become_rarer() -> None:
    pauses = [fresh_copy.pause_seconds(copies) for copies in range(1, 100)]
    assert pauses[:3] == [600, 1200, 2400]
    assert pauses == sorted(pauses)
    assert pauses[-1] == fresh_copy.LONGEST_PAUSE_SECONDS
