"""The history checks: a store that keeps its word passes, every planted broken promise is found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checks import Fault, Finding, check, redelivered
from tests.chaos.history import Action, Operation, Outcome


def op(
    action: Action,
    value: int | list[int] | None,
    start: float,
    end: float | None = None,
    outcome: Outcome = Outcome.OK,
    key: str = "k",
) -> Operation:
    return Operation("c", action, key, value, start, start + 0.5 if end is None else end, outcome)


def append(value: int, start: float, outcome: Outcome = Outcome.OK) -> Operation:
    return op(Action.APPEND, value, start, outcome=outcome)


def read_list(values: list[int], start: float) -> Operation:
    return op(Action.READ_LIST, values, start)


def faults(history: list[Operation], *final: Operation) -> list[tuple[Fault, int]]:
    return [(finding.fault, finding.value) for finding in check(history, final)]


class TestLists:
    def test_a_faithful_list_passes(self) -> None:
        history = [append(1, 0), append(2, 1), read_list([1, 2], 2), append(3, 3)]
        assert faults(history, read_list([1, 2, 3], 9)) == []

    def test_an_acknowledged_append_that_is_gone_is_lost(self) -> None:
        assert faults([append(1, 0), append(2, 1)], read_list([1], 9)) == [(Fault.LOST, 2)]

    def test_a_list_that_nobody_could_read_in_the_end_is_lost_whole(self) -> None:
        assert faults([append(1, 0)]) == [(Fault.LOST, 1)]

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN])
    def test_what_was_not_acknowledged_may_be_absent(self, outcome: Outcome) -> None:
        assert faults([append(1, 0), append(2, 1, outcome)], read_list([1], 9)) == []

    def test_an_unknown_append_may_be_there_and_late(self) -> None:
        assert faults([append(1, 0, Outcome.UNKNOWN), append(2, 1)], read_list([2, 1], 9)) == []

    def test_a_failed_append_that_is_there_has_risen(self) -> None:
        assert faults([append(1, 0, Outcome.FAILED)], read_list([1], 9)) == [(Fault.RESURRECTED, 1)]

    def test_an_element_twice_is_a_duplicated_effect(self) -> None:
        assert faults([append(1, 0)], read_list([1, 1], 9)) == [(Fault.DUPLICATED, 1)]

    def test_an_element_of_nobody_is_invented(self) -> None:
        assert faults([append(1, 0)], read_list([1, 7], 9)) == [(Fault.INVENTED, 7)]

    def test_a_read_without_an_older_acknowledged_append_is_stale(self) -> None:
        history = [append(1, 0), append(2, 1), read_list([1], 2)]
        assert faults(history, read_list([1, 2], 9)) == [(Fault.STALE, 2)]

    def test_a_read_that_overlaps_the_append_may_miss_it(self) -> None:
        assert faults([append(1, 0), read_list([], 0.2)], read_list([1], 9)) == []

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN])
    def test_what_a_reader_was_shown_and_is_gone_is_lost_whatever_its_writer_was_told(self, outcome: Outcome) -> None:
        history = [append(1, 0), append(2, 1, outcome), read_list([1, 2], 2)]
        assert faults(history, read_list([1], 9)) == [(Fault.LOST, 2)]

    def test_a_read_without_what_an_earlier_one_showed_is_stale(self) -> None:
        history = [append(1, 0), append(2, 1, Outcome.UNKNOWN), read_list([1, 2], 2), read_list([1], 3)]
        assert faults(history, read_list([1, 2], 9)) == [(Fault.STALE, 2)]
        slow = op(Action.APPEND, 2, 1, 20.0)  # shown before its writer knew
        assert faults([append(1, 0), slow, *history[2:]], read_list([1, 2], 30)) == [(Fault.STALE, 2)]

    def test_two_reads_at_once_owe_each_other_nothing(self) -> None:
        history = [append(2, 1, Outcome.UNKNOWN), read_list([2], 2), read_list([], 2.4)]
        assert faults(history, read_list([2], 9)) == []

    def test_what_a_failed_read_or_a_replica_showed_is_not_due(self) -> None:
        doubtful = append(2, 1, Outcome.UNKNOWN)
        failed = op(Action.READ_LIST, [2], 2, outcome=Outcome.FAILED)
        assert faults([doubtful, failed, op(Action.PROBE, [2], 2)], read_list([], 9)) == []

    def test_an_element_behind_a_later_one_is_reordered(self) -> None:
        history = [append(1, 0), append(2, 1), append(3, 2)]
        assert faults(history, read_list([3, 2, 1], 9)) == [(Fault.REORDERED, 2), (Fault.REORDERED, 1)]


class TestRegisters:
    HISTORY = (op(Action.WRITE, 1, 0), op(Action.WRITE, 2, 1))

    def test_a_fresh_read_passes(self) -> None:
        assert faults([*self.HISTORY, op(Action.READ, 2, 2)], op(Action.READ, 2, 9)) == []

    def test_an_older_value_after_a_newer_acknowledged_one_is_stale(self) -> None:
        assert faults([*self.HISTORY, op(Action.READ, 1, 2)], op(Action.READ, 2, 9)) == [(Fault.STALE, 2)]

    def test_the_same_in_the_end_is_a_loss(self) -> None:
        assert faults([*self.HISTORY], op(Action.READ, 1, 9)) == [(Fault.LOST, 2)]

    def test_nothing_after_an_acknowledged_write_is_stale(self) -> None:
        assert faults([*self.HISTORY, op(Action.READ, None, 2)], op(Action.READ, 2, 9)) == [(Fault.STALE, 2)]

    def test_a_write_in_doubt_may_win_late(self) -> None:
        history = [op(Action.WRITE, 1, 0, outcome=Outcome.UNKNOWN), op(Action.WRITE, 2, 1), op(Action.READ, 1, 2)]
        assert faults(history, op(Action.READ, 1, 9)) == []

    def test_a_failed_write_must_not_be_seen(self) -> None:
        history = [op(Action.WRITE, 1, 0, outcome=Outcome.FAILED), op(Action.READ, 1, 2)]
        assert faults(history) == [(Fault.RESURRECTED, 1)]

    def test_a_read_that_failed_says_nothing(self) -> None:
        assert faults([*self.HISTORY, op(Action.READ, None, 2, outcome=Outcome.FAILED)], op(Action.READ, 2, 9)) == []

    def test_a_probe_may_be_old(self) -> None:
        assert faults([*self.HISTORY, op(Action.PROBE, 1, 2)], op(Action.READ, 2, 9)) == []


class TestMessages:
    def test_a_confirmed_message_that_never_comes_is_lost(self) -> None:
        history = [op(Action.PUBLISH, 1, 0), op(Action.PUBLISH, 2, 1), op(Action.DELIVER, 2, 1)]
        assert faults(history) == [(Fault.LOST, 1)]

    def test_an_unconfirmed_one_may_vanish(self) -> None:
        assert faults([op(Action.PUBLISH, 1, 0, outcome=Outcome.UNKNOWN)]) == []

    def test_a_marked_repetition_is_no_duplicate_and_is_counted(self) -> None:
        history = [op(Action.PUBLISH, 1, 0), op(Action.DELIVER, 1, 1), op(Action.REDELIVER, 1, 2)]
        assert faults(history) == []
        assert redelivered(history) == 1

    def test_a_repetition_is_enough_to_have_arrived(self) -> None:
        assert faults([op(Action.PUBLISH, 1, 0), op(Action.REDELIVER, 1, 2)]) == []

    def test_two_deliveries_as_new_are_a_duplicate(self) -> None:
        history = [op(Action.PUBLISH, 1, 0), op(Action.DELIVER, 1, 1), op(Action.DELIVER, 1, 2)]
        assert faults(history) == [(Fault.DUPLICATED, 1)]


class TestImports:
    @pytest.mark.parametrize(
        ("effects", "findings"), [(100, []), (97, [(Fault.LOST, 3)]), (104, [(Fault.DUPLICATED, 4)])]
    )
    def test_every_accepted_row_takes_effect_once(self, effects: int, findings: list[tuple[Fault, int]]) -> None:
        assert faults([op(Action.IMPORT, 100, 0), op(Action.IMPORTED, effects, 5)]) == findings

    def test_an_accepted_feed_that_never_ends_is_lost(self) -> None:
        assert faults([op(Action.IMPORT, 100, 0)]) == [(Fault.LOST, 100)]

    def test_a_refused_feed_owes_nothing(self) -> None:
        assert faults([op(Action.IMPORT, 100, 0, outcome=Outcome.UNKNOWN)]) == []


# A store that keeps its word, driven at random: each operation takes effect at one moment between its start and its
# end (in doubt: then, later, or never), so the checks must be silent; then one promise is broken on purpose.


def honest(seed: int) -> tuple[list[Operation], Operation]:
    """A random history of one list and its last read."""
    chance = random.Random(seed)
    now, kept, late, history = 0.0, [], [], []
    for value in range(chance.randint(2, 40)):
        outcome = chance.choices(list(Outcome), weights=[6, 1, 1])[0]
        history.append(op(Action.APPEND, value, now, now + 1, outcome))
        if outcome is Outcome.OK or (outcome is Outcome.UNKNOWN and chance.random() < 0.3):
            kept.append(value)
        elif outcome is Outcome.UNKNOWN:
            late.append(value)
        now += 2
        if chance.random() < 0.5:
            kept += [late.pop()] if late and chance.random() < 0.5 else []
            history.append(op(Action.READ_LIST, list(kept), now, now + 1))
            now += 2
    return history, op(Action.READ_LIST, list(kept), now)


@given(st.integers())
def test_an_honest_store_is_never_blamed(seed: int) -> None:
    history, final = honest(seed)
    assert check(history, [final]) == []


@given(st.integers(), st.integers(min_value=0))
def test_a_loss_is_always_found(seed: int, pick: int) -> None:
    history, final = honest(seed)
    acknowledged = [o.value for o in history if o.action is Action.APPEND and o.is_acknowledged]
    if not acknowledged:
        return
    victim = acknowledged[pick % len(acknowledged)]
    assert isinstance(victim, int)
    assert isinstance(final.value, list)
    poorer = op(Action.READ_LIST, [v for v in final.value if v != victim], final.start)
    assert [f for f in check(history, [poorer]) if f.fault is Fault.LOST] == [Finding(Fault.LOST, "k", victim, "c")]


@given(st.integers(), st.integers(min_value=0))
def test_a_duplicate_is_always_found(seed: int, pick: int) -> None:
    history, final = honest(seed)
    assert isinstance(final.value, list)
    if not final.value:
        return
    victim = final.value[pick % len(final.value)]
    richer = op(Action.READ_LIST, [*final.value, victim], final.start)
    assert (Fault.DUPLICATED, victim) in [(f.fault, f.value) for f in check(history, [richer])]


@given(st.integers())
def test_a_stale_read_is_always_found(seed: int) -> None:
    history, final = honest(seed)
    shown = {v for o in history if o.action is Action.READ_LIST and isinstance(o.value, list) for v in o.value}
    due = [o.value for o in history if o.action is Action.APPEND and (o.is_acknowledged or o.value in shown)]
    stale = op(Action.READ_LIST, [], final.start)
    assert [f.value for f in check([*history, stale], [final]) if f.fault is Fault.STALE] == due
