"""What the soak takes for a proof, and what speaks against a pass."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.chaos import processes
from tests.chaos.gaps import Window
from tests.chaos.history import Action, Operation, Outcome
from tests.soak.false_failovers import LATE_SECONDS, NUISANCES, Soak, Unproven, acknowledging, pause, two_at_once
from tests.soak.waits import MOST_TOLD, Happened, longest


def write(member: str, start: float, outcome: Outcome = Outcome.OK) -> Operation:
    return Operation(f"sql-isolated.{member}", Action.APPEND, member, 1, start, start + 0.1, outcome)


ONE = [write("0", 1), write("1", 1, Outcome.FAILED), write("0", 2), write("1", 2.5, Outcome.UNKNOWN)]


LOCK = ("shop-postgres-0", "3", "2")


def ended(**changes: object) -> Soak:
    state = Soak(60, LOCK, LOCK, has_ended=True)
    state.proven |= dict.fromkeys(NUISANCES, 4)
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def test_a_soak_passes_where_the_lock_stayed_and_everything_happened() -> None:
    assert ended().why_not(ONE) == []
    assert acknowledging(ONE) == {"0": 2}


@pytest.mark.parametrize(("changes", "words"), [
    ({"lock": ("shop-postgres-1", "4", "3")}, "the lock went"),
    ({"lock": ("shop-postgres-0", "5", "2")}, "the lock went"),
    ({"lock": ("shop-postgres-0", "3", "3")}, "the lock went"),  # it stopped itself, and was promoted again
    ({"unproven": ["turn 3, bulk rows: no"]}, "not proven: turn 3"),
    ({"gone": ["sql-held"]}, "ended by itself: sql-held"),  # no load, no soak
    ({"has_ended": False}, "it was ended early"),
])  # fmt: skip
def test_a_soak_fails_where_something_speaks_against_it(changes: dict[str, object], words: str) -> None:
    assert [words in told for told in ended(**changes).why_not(ONE)] == [True]


def test_a_nuisance_that_never_happened_and_a_primary_that_nobody_saw_fail_a_soak() -> None:
    state = ended()
    state.proven["a node slowed"] = 0
    assert state.why_not(ONE) == ["never happened: a node slowed"]
    assert ended().why_not([]) == ["0 members acknowledged: "]


def test_two_members_that_acknowledge_at_once_are_seen() -> None:
    handed_over = [write("0", 1), write("0", 2), write("1", 3), write("1", 4)]
    assert two_at_once(handed_over) == []
    assert len(two_at_once([*handed_over, write("0", 3.05)])) >= 1  # at the same time
    assert len(two_at_once([*handed_over, write("0", 3.5)])) == 1  # in between
    assert two_at_once([*handed_over, write("0", 3.05, Outcome.UNKNOWN)]) == []


def held(start: float, end: float, outcome: Outcome = Outcome.OK) -> Operation:
    return Operation("sql-held", Action.APPEND, "sql-held/0", 1, start, end, outcome)


def test_a_wait_is_told_with_its_nuisance_and_with_what_the_client_did_not_try() -> None:
    history = [
        held(90, 90.1),  # before the soak
        held(95, 100.1),
        held(100.2, 102.2, Outcome.UNKNOWN),
        held(102.3, 103.1),  # waited 3.0 s, and tried all the time
        held(107.1, 109.1),  # 6.0 s, for 4 of which the client itself stood still
    ]
    happened = [
        Happened("a member paused", 100, 103),
        Happened("bulk rows", 105, 120),
        Happened("a node slowed", 90, 99),
    ]
    assert longest(history, happened, Window(100, 109.1))[:2] == [
        {"at_s": 3.1, "seconds": 6.0, "client_asleep_s": 4.0, "during": ("bulk rows",)},
        {"at_s": 0.1, "seconds": 3.0, "client_asleep_s": 0.0, "during": ("a member paused",)},
    ]
    assert len(longest([held(n, n + 0.1) for n in range(99)], [], Window(0, 99))) == MOST_TOLD


def test_a_wait_that_is_not_over_at_the_end_is_told() -> None:
    history = [held(100, 100.1), held(100.2, 110.0, Outcome.UNKNOWN)]  # then it was not even tried
    waited = {"at_s": 0.1, "seconds": 99.9, "client_asleep_s": 90.0, "during": ()}
    assert longest(history, [], Window(100, 200))[0] == waited
    assert longest([], [], Window(100, 200)) == []


def test_who_may_not_go_first_pauses_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, or as another user than root: whether it was in time is looked at anyway."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            pause(lambda: [process.pid], 0.1)
            assert processes.stopped([process.pid]) == []
        finally:
            process.kill()


def test_a_pause_is_proven_by_processes_that_stood_still_and_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            pause(lambda: [process.pid], 0.2)
            assert processes.stopped([process.pid]) == []
            monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds + LATE_SECONDS))
            with pytest.raises(Unproven, match=r"for 1\.0 s, not for 0\.2"):
                pause(lambda: [process.pid], 0.2)
            monkeypatch.undo()
            with pytest.raises(Unproven, match="0 of 0"):
                pause(list, 0.01)
            waked = iter([[process.pid], []])

            def wake() -> list[int]:
                found = next(waked)
                if not found:
                    process.send_signal(signal.SIGCONT)
                return found

            with pytest.raises(Unproven, match="0 of 1"):
                pause(wake, 0.3)
        finally:
            process.kill()
