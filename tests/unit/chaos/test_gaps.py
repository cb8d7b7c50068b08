"""Gaps, failures and slow requests, read from small histories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.gaps import Bin, Window, failed, isolated_acknowledgement, read_gap, slow, timeline, write_gap
from tests.chaos.history import Action, Operation, Outcome

WINDOW = Window(10.0, 30.0)


def write(end: float, outcome: Outcome = Outcome.OK, took: float = 0.1, action: Action = Action.APPEND) -> Operation:
    return Operation("c", action, "k", 1, end - took, end, outcome)


def test_the_gap_reaches_from_the_last_success_to_the_next() -> None:
    history = [write(9.9), write(12.0, Outcome.FAILED), write(15.9), write(16.0), write(29.9), write(30.1)]
    assert write_gap(history, Window(10.0, 20.0)) == 29.9 - 16.0
    assert write_gap(history[:4], Window(10.0, 16.0)) == 6.0


def test_a_gap_before_the_fault_is_not_the_faults() -> None:
    history = [write(1.0), write(9.9), *(write(10.0 + n / 10) for n in range(1, 210))]
    gap = write_gap(history, WINDOW)
    assert gap is not None
    assert gap < 0.3


def test_service_that_never_comes_back_is_a_gap_to_the_end() -> None:
    assert write_gap([write(9.0)], WINDOW) == 21.0


def test_without_a_success_before_the_fault_there_is_no_gap_to_tell() -> None:
    assert write_gap([write(12.0)], WINDOW) is None
    assert write_gap([], WINDOW) is None


def test_reads_and_writes_are_apart() -> None:
    history = [write(9.0, action=Action.PROBE), write(11.0), write(29.0, action=Action.PROBE), write(31.0)]
    assert read_gap(history, WINDOW) == 20.0


def test_failed_and_slow_are_counted_where_they_were_under_way() -> None:
    history = [
        write(9.0, Outcome.FAILED),  # over before the fault
        write(10.05, Outcome.FAILED),  # under way when it struck
        write(12.0, Outcome.UNKNOWN),
        write(13.0, Outcome.FAILED),
        write(9.9, took=2),
        write(15.0, took=2),
        write(19.0, took=9.5),
        write(31.0, Outcome.FAILED, took=0.5),  # after the end
    ]
    assert failed(history, WINDOW) == 3
    assert slow(history, WINDOW) == 2


def test_the_isolated_side_counts_what_was_acknowledged_between_the_cut_and_the_mending() -> None:
    history = [write(10.05), write(12.5), write(14.0, Outcome.UNKNOWN), write(31.0)]
    assert isolated_acknowledgement(history, WINDOW) == 2.5
    assert isolated_acknowledgement(history[2:3], WINDOW) == 0.0
    assert isolated_acknowledgement([], WINDOW) is None


def test_a_write_that_began_before_the_cut_and_was_acknowledged_late_is_isolated() -> None:
    late = write(13.0, took=3.1)
    assert isolated_acknowledgement([late, write(30.5, Outcome.UNKNOWN, took=17.0)], WINDOW) == 3.0


def test_an_answer_that_was_under_way_as_the_cut_came_is_not_isolated() -> None:
    """But one to a write that began after the cut is, however soon it came."""
    asked = write(20.0, Outcome.UNKNOWN)
    assert isolated_acknowledgement([write(10.4, took=0.5), asked], WINDOW) == 0.0
    assert isolated_acknowledgement([write(10.6, took=0.7), asked], WINDOW) == pytest.approx(0.6)
    assert isolated_acknowledgement([write(10.1, took=0.05), asked], WINDOW) == pytest.approx(0.1)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_write_that_hung_throughout_the_cut_was_tried(outcome: Outcome) -> None:
    assert isolated_acknowledgement([write(31.0, outcome, took=21.1)], WINDOW) == 0.0


def test_a_client_inside_that_no_longer_tried_tells_nothing() -> None:
    assert isolated_acknowledgement([write(WINDOW.since - 1), write(WINDOW.since + 0.05)], WINDOW) is None


def test_a_client_that_is_served_hides_none_that_hangs() -> None:
    served = [write(n / 10) for n in range(90, 310)]
    hanging = [replace(write(end), client="c.2") for end in (9.9, 25.0, 30.1)]
    assert write_gap([*served, *hanging], WINDOW) == pytest.approx(15.1)


def test_a_client_that_begins_after_the_fault_waits_from_its_first_attempt_on() -> None:
    served = [write(n / 10) for n in range(90, 310)]
    late = [replace(write(end, outcome), client="c.2") for end, outcome in [(12.1, Outcome.FAILED), (17.0, Outcome.OK)]]
    assert write_gap([*served, *late], WINDOW) == pytest.approx(13.0)  # served once, and never again until 30
    assert write_gap([*served, *late[:1]], WINDOW) == pytest.approx(18.0)
    assert write_gap(late, WINDOW) is None


def test_the_timeline_counts_per_second() -> None:
    history = [write(9.6), write(9.7), write(10.1, Outcome.FAILED), write(99.0)]
    assert timeline(history, zero=10.0, begin=-1.0, end=1.0, step=0.5) == [
        Bin(-0.75, 0, 0),
        Bin(-0.25, 4, 0),
        Bin(0.25, 0, 2),
        Bin(0.75, 0, 0),
    ]
