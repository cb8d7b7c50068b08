"""What the soak takes for a proof, and what speaks against a pass."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.chaos import processes
from tests.chaos.history import Action, Operation, Outcome
from tests.soak.false_failovers import LATE_SECONDS, NUISANCES, Soak, Unproven, acknowledging, pause, two_at_once


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
