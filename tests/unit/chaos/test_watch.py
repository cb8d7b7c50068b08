"""What a person saw meanwhile: conditions and roles as they changed, and when the stack was whole again."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from tests.chaos.measure import conditions, recovered, role_changes, rows_of
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.site import Unanswered, wait_until
from tests.chaos.watch import Change, Watch, conditions_of
from tests.unit.chaos.made_runs import CHANGES, MARKS

if TYPE_CHECKING:
    import pytest

    from tests.chaos.site import Site


def test_recovery_is_counted_from_the_mending_where_it_came_after_that() -> None:
    assert recovered(CHANGES, MARKS) == 20.0
    assert recovered(CHANGES, replace(MARKS, mended=115.0)) == 5.0
    assert recovered(CHANGES, replace(MARKS, mended=125.0)) == 20.0


def test_recovery_without_an_operator_is_counted_from_its_return_not_from_how_long_it_was_kept_away() -> None:
    assert recovered(CHANGES, replace(MARKS, mended=105.0, returned=112.0)) == 8.0
    assert recovered(CHANGES, replace(MARKS, returned=112.0)) == 8.0


def test_a_stack_that_never_called_itself_otherwise_recovered_at_once_and_one_that_still_does_not_at_all() -> None:
    assert recovered(CHANGES[:2], MARKS) == 0.0
    assert recovered(CHANGES[:3], MARKS) is None


def test_what_nobody_looked_at_has_no_time_of_recovery() -> None:
    assert recovered(CHANGES[:2], MARKS, is_watched=False) is None
    assert recovered(CHANGES, MARKS, is_watched=False) == 20.0
    quiet = rows_of(SCENARIOS["node-cut-no-operator"], [], [], [], MARKS)
    assert {row["recovered_s"] for row in quiet} == {None}


def test_what_it_called_itself_after_the_end_of_the_run_is_no_part_of_it() -> None:
    late = Change(MARKS.ended + 1, "HighlyAvailable", "False", "PodsNotReady")
    assert recovered([*CHANGES, late], MARKS) == 20.0


def test_what_came_and_went_while_nobody_could_look_shows_by_its_time_of_transition() -> None:
    def stack(since: str) -> dict[str, Any]:
        told = {"type": "HighlyAvailable", "status": "True", "reason": "Healthy", "lastTransitionTime": since}
        return {"status": {"conditions": [told]}}

    watch = Watch(cast("Site", None))
    watch.note(90, conditions_of(stack("12:00:00")))
    watch.note(100.5, conditions_of(stack("12:00:00")))
    assert recovered(watch.changes, MARKS) == 0.0
    watch.note(107, None)
    assert watch.now("HighlyAvailable") == "Unknown"
    watch.note(110, conditions_of(stack("12:10:04")))
    assert (recovered(watch.changes, MARKS), watch.now("HighlyAvailable")) == (10.0, "True")


def test_who_leads_the_queue_is_marked_as_it_moves_and_no_answer_is_no_move(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["shop-rabbitmq-0", "shop-rabbitmq-0", None, "", "shop-rabbitmq-2"])

    def ask(*_: object) -> str:
        if (answer := next(answers)) is None:
            raise Unanswered("timed out")
        return answer

    monkeypatch.setattr("tests.chaos.watch.queue_leader", ask)
    watch = Watch(cast("Site", None), "amqp://user:word@10.0.0.1:5672/")
    for _ in range(5):
        watch.look_at_queue()
    assert [(each.kind, each.status) for each in watch.changes] == [
        ("leader", "shop-rabbitmq-0"), ("leader", "nobody"), ("leader", "shop-rabbitmq-2")]  # fmt: skip
    marks = replace(MARKS, told=watch.changes[0].at)
    assert [pod for _, _, pod in role_changes(watch.changes, marks)] == ["nobody", "shop-rabbitmq-2"]
    assert conditions(watch.changes, marks) == []


def test_the_stack_is_looked_at_also_while_rabbitmq_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, is_over = [], threading.Event()
    monkeypatch.setattr("tests.chaos.watch.EVERY_SECONDS", 0.01)
    monkeypatch.setattr("tests.chaos.watch.queue_leader", lambda *_: str(is_over.wait(60)))
    monkeypatch.setattr(Watch, "_look", lambda _: looks.append(1))
    with Watch(cast("Site", None), "amqp://user:word@10.0.0.1:5672/"):
        wait_until(lambda: len(looks) > 5, "it is looked at", 30, 0.01)
        is_over.set()


def test_conditions_begin_with_how_it_was_and_roles_are_told_apart() -> None:
    expected: list[list[Any]] = [
        [0.0, "HighlyAvailable", "True", "Healthy"],
        [4, "HighlyAvailable", "False", "NoPrimary"],
        [20, "HighlyAvailable", "True", "Healthy"],
    ]
    assert conditions(CHANGES, MARKS) == expected
    assert role_changes(CHANGES, MARKS) == [[6, "primary", "shop-postgres-1"]]
