"""Redis' masters, judged by histories: faithful ones pass, each planted wrong is found and nothing else excused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.history import Action, Operation, Outcome
from tests.chaos.measure import Marks, rows_of
from tests.chaos.reigns import LAG_SECONDS, Blow, beside_in_words, judge, reigns_of, stale_inside_seconds
from tests.chaos.scenarios import SCENARIOS

OLD, NEW = "aaaa/1111", "bbbb/2222"
CRASH = Blow(told=100.0, struck=100.2, may_lose=True)
PLANNED = replace(CRASH, may_lose=False)
KEY = "chaos/redis-held/0"


def writes(server: str, begin: float, end: float, key: str = KEY, step: float = 0.2) -> list[Operation]:
    """Acknowledged one after the other; the value is the time, so that no two are alike."""
    count = round((end - begin) / step)
    starts = [round(begin + n * step, 3) for n in range(count)]
    client = key.split("/")[1]
    return [
        Operation(client, Action.APPEND, key, round(start * 1000), start, start + 0.01, Outcome.OK, server=server)
        for start in starts
    ]


def final(history: list[Operation], without: list[Operation] | None = None) -> list[Operation]:
    """What is there in the end."""
    lists: dict[str, list[int]] = {}
    for o in history:
        if o.action is Action.APPEND and o not in (without or []) and isinstance(o.value, int):
            lists.setdefault(o.key, []).append(o.value)
    return [Operation("final", Action.READ_LIST, key, items, 300, 300, Outcome.OK) for key, items in lists.items()]


def read(at: float, values: list[int], server: str = NEW, client: str = "redis-reader") -> Operation:
    return Operation(client, Action.READ_LIST, KEY, values, at, at + 0.01, Outcome.OK, server=server)


def values(history: list[Operation]) -> list[int]:
    return [o.value for o in history if isinstance(o.value, int)]


FAITHFUL = [*writes(OLD, 90, 100.4), *writes(NEW, 103, 120)]


@pytest.mark.parametrize("blow", [CRASH, PLANNED])
def test_a_master_that_ends_before_the_next_one_begins_is_faithful(blow: Blow) -> None:
    judged = judge(FAITHFUL, final(FAITHFUL), blow)
    assert (judged.acknowledged, judged.lost, judged.beside, judged.two_writers_s) == (len(FAITHFUL), 0, 0, 0.0)
    assert judged.unexplained == ()
    assert [(reign.server, reign.since) for reign in reigns_of(FAITHFUL)] == [(OLD, 90.01), (NEW, 103.01)]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (98.0, "lost_unexplained"),
        (99.4, "lost_in_flight"),
        (100.0, "lost_in_flight"),
        (101.0, "lost_within_lag"),
        (104.0, "lost_within_lag"),
        (104.4, "lost_unexplained"),
    ],
)
def test_a_master_that_fails_may_lose_what_was_under_way_and_what_its_lag_allows(at: float, reason: str) -> None:
    history = [*writes(OLD, 90, 106), *writes(NEW, 107, 120)]
    gone = [next(o for o in history if o.start >= at)]
    for blow, expected in ((CRASH, reason), (PLANNED, "lost_unexplained")):
        found = judge(history, final(history, gone), blow).figures()
        counts = {name: found[name] for name in ("lost_in_flight", "lost_within_lag", "lost_unexplained")}
        assert counts == {**dict.fromkeys(counts, 0), expected: 1}
        assert found["lost"] == 1


def test_a_successor_may_lose_nothing_however_soon_after_the_fault() -> None:
    history = [*writes(OLD, 90, 100), *writes(NEW, 101.5, 120)]
    gone = [next(o for o in history if o.server == NEW)]
    assert gone[0].end < CRASH.struck + LAG_SECONDS
    assert judge(history, final(history, gone), CRASH).lost_unexplained == 1


def test_a_master_that_the_fault_did_not_touch_may_lose_nothing() -> None:
    """As on another node than the one that was cut off."""
    history = writes(OLD, 90, 120)
    gone = [next(o for o in history if o.start >= 101)]
    assert judge(history, final(history, gone), CRASH).lost_unexplained == 1


def test_without_a_reign_at_the_fault_nobody_is_excused() -> None:
    history = writes(NEW, 101.5, 120)
    assert judge(history, final(history, history[:1]), CRASH).lost_unexplained == 1


def test_two_masters_that_take_writes_at_once_are_seen_and_timed() -> None:
    isolated = writes(OLD, 90, 103.0, key="chaos/redis-isolated/0")
    history = [*writes(OLD, 90, 100), *isolated, *writes(NEW, 101.0, 120)]
    judged = judge(history, final(history, isolated), CRASH)
    assert judged.two_writers_s == pytest.approx(1.8, abs=0.11)  # from 101.01 to 102.8
    assert judged.beside == 9
    assert judged.unexplained == (), "within the lag of a master that was cut off"
    planned = judge(history, final(history), PLANNED)
    assert len(planned.unexplained) == 9, "nobody may, where nobody fails"
    assert planned.unexplained[0].startswith(f"{OLD} acknowledged chaos/redis-isolated/0 101")


def test_two_masters_beyond_the_lag_are_excused_by_nothing() -> None:
    isolated = writes(OLD, 90, 110.0, key="chaos/redis-isolated/0")
    history = [*isolated, *writes(NEW, 102.0, 120)]
    judged = judge(history, final(history), CRASH)
    assert judged.lost == 0, "whatever is left in the end"
    assert judged.two_writers_s == pytest.approx(7.8, abs=0.11)
    late = [o for o in isolated if o.end >= CRASH.struck + LAG_SECONDS]
    assert len(judged.unexplained) == len(late) > 0


def test_three_masters_at_once_are_timed_once() -> None:
    history = [
        *writes(OLD, 90, 110, key="chaos/redis-isolated/0"),
        *writes(NEW, 102, 110, key="chaos/redis-isolated/1"),
        *writes("cccc/3333", 104, 110),
    ]
    assert judge(history, final(history), CRASH).two_writers_s == pytest.approx(7.8, abs=0.11)


@pytest.mark.parametrize("again", ["aaaa/3333", "aaaa/1111"])
def test_a_master_that_leads_again_later_is_not_two(again: str) -> None:
    """But where it never stopped leading, as its replication id says, the other one was a second master."""
    history = [*writes(OLD, 90, 100), *writes(NEW, 102, 110), *writes(again, 112, 120)]
    judged = judge(history, final(history), PLANNED)
    assert (judged.beside > 0) is (again == OLD)


def test_one_process_whose_replication_id_changes_is_one_master() -> None:
    history = [*writes(OLD, 90, 110, key="chaos/redis-isolated/0"), *writes("aaaa/9999", 100, 120)]
    assert judge(history, final(history), PLANNED).beside == 0


PRIMARY, HEIR = "10.0.0.1/00000001", "10.0.0.2/00000002"
LIST = "sql/sql-held/0"


@pytest.mark.parametrize("again", ["10.0.0.1/00000003", HEIR])
def test_primaries_one_after_the_other_are_faithful(again: str) -> None:
    turns = [*writes(PRIMARY, 90, 100, LIST), *writes(HEIR, 102, 110, LIST), *writes(again, 112, 120, LIST)]
    assert beside_in_words(turns) == []


def test_one_primary_that_begins_a_new_timeline_is_one() -> None:
    """As a server that is restored in its place."""
    history = [*writes(PRIMARY, 90, 110, LIST), *writes("10.0.0.1/00000002", 100, 120, LIST)]
    assert beside_in_words(history) == []


def test_two_primaries_at_once_are_seen_though_nothing_is_lost() -> None:
    history = [*writes(PRIMARY, 90, 101.4, LIST), *writes(HEIR, 101.0, 120, "sql/sql-reconnecting/0")]
    words = f"{PRIMARY} acknowledged {LIST} 101200 beside its successor"
    assert beside_in_words(history) == [words]
    assert beside_in_words(replace(o, outcome=Outcome.UNKNOWN) if o.server == PRIMARY else o for o in history) == []
    rows = rows_of(SCENARIOS["postgres-primary-sigkill"], history, final(history), [], Marks(100.0, 100.2, None, 119.0))
    told = {row["client"]: row for row in rows if row["service"] == "postgres"}
    assert (told["held"]["other_findings"], told["held"]["promises_kept"]) == ([words], False)
    assert told["reconnecting"]["other_findings"] == []


def test_a_fresh_read_passes_and_one_that_lacks_what_is_due_is_stale() -> None:
    history = [*FAITHFUL, read(110.005, [o for o in values(FAITHFUL) if o < 110_000])]
    assert judge(history, final(history), CRASH).stale_reads == 0
    lacking = [*FAITHFUL, read(110.005, [o for o in values(FAITHFUL) if o < 108_000])]
    judged = judge(lacking, final(lacking), CRASH)
    assert judged.stale_reads == 1
    assert judged.stale_s == pytest.approx(2.0, abs=0.11)
    assert len(judged.unexplained) == 1, "whoever took the writes has to show them"


@pytest.mark.parametrize(("at", "excused"), [(104.0, True), (106.9, True), (107.2, False)])
@pytest.mark.parametrize("server", [OLD, "aaaa/replica"])
def test_a_former_master_may_show_old_data_just_after_its_heir_began(at: float, excused: bool, server: str) -> None:
    history = [*FAITHFUL, read(at, [o for o in values(FAITHFUL) if o < 101_000], server)]
    judged = judge(history, final(history), CRASH)
    assert judged.stale_reads == 1
    assert (judged.unexplained == ()) is excused


def test_what_is_gone_in_the_end_is_lost_and_not_stale_too() -> None:
    gone = [o for o in FAITHFUL if o.start >= 119]
    history = [*FAITHFUL, read(119.99, [o for o in values(FAITHFUL) if o < 119_000])]
    judged = judge(history, final(history, gone), CRASH)
    assert (judged.lost, judged.stale_reads) == (len(gone), 0)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.FAILED])
def test_what_was_not_acknowledged_proves_nothing(outcome: Outcome) -> None:
    doubtful = [replace(o, outcome=outcome) for o in writes(OLD, 103, 115, key="chaos/redis-isolated/0")]
    history = [*FAITHFUL, *doubtful]
    judged = judge(history, final(FAITHFUL), CRASH)
    assert (judged.acknowledged, judged.lost, judged.beside) == (len(FAITHFUL), 0, 0)


def test_a_reader_inside_the_cut_is_shown_old_data_for_a_time_that_is_told() -> None:
    def inside(at: float, until: float) -> Operation:
        return read(at, [o for o in values(FAITHFUL) if o < until * 1000], OLD, "redis-isolated-reader")

    before = inside(99.0, 99.0)
    assert stale_inside_seconds(FAITHFUL, 100.2, 145) is None, "nobody read inside"
    assert stale_inside_seconds([*FAITHFUL, inside(105.0, 101.0)], 100.2, 145) is None, "nobody had before the cut"
    assert stale_inside_seconds([*FAITHFUL, before], 100.2, 145) == 0.0
    fresh = inside(102.0, 102.0)
    assert stale_inside_seconds([*FAITHFUL, before, fresh], 100.2, 145) == 0.0
    stale = [inside(at, 101.0) for at in (104.0, 107.0, 150.0)]
    assert stale_inside_seconds([*FAITHFUL, before, *stale], 100.2, 145) == 6.8, "what was cut is what counts"
    demoted = replace(stale[1], start=120.0, end=120.1, server="aaaa/replica")
    assert stale_inside_seconds([*FAITHFUL, before, *stale, demoted], 100.2, 145) == 6.8
    # It is a figure of the cut-off side, not a stale read of those who can reach the heir.
    assert judge([*FAITHFUL, before, *stale], final(FAITHFUL), CRASH).stale_reads == 0
