"""Planned work on PostgreSQL: who takes over before a stop, and in which order members restart."""

from __future__ import annotations

from typing import Any

import pytest
from hand_over import successor
from pending_restart import AGAIN_SECONDS, reasons, was_in_vain, whose_turn

Changes = dict[str, tuple[str, str]]  # parameter -> its value before and after

A, B, C = "shop-postgres-0", "shop-postgres-1", "shop-postgres-2"


def member(name: str, role: str = "replica", state: str = "streaming", **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role, "state": state, **more}


def test_the_synchronous_standby_that_is_least_behind_takes_over() -> None:
    members = [
        member(A, "leader", "running"),
        member(B, "quorum_standby", lag=4096),
        member(C, "quorum_standby", lag=0),
    ]
    assert successor(A, members) == C


@pytest.mark.parametrize(
    "others",
    [[], [member(B)], [member(B, "sync_standby", "starting")], [member(B, "replica", lag=0)]],
    ids=["alone", "not synchronous", "not streaming", "asynchronous"],
)
def test_nobody_takes_over_who_may_miss_a_commit(others: list[dict[str, Any]]) -> None:
    assert successor(A, [member(A, "leader", "running"), *others]) is None


def test_a_standby_of_unknown_lag_comes_last() -> None:
    members = [member(B, "quorum_standby", lag="unknown"), member(C, "quorum_standby", lag=8)]
    assert successor(A, members) == C


def waiting(name: str, role: str = "replica", *, changes: Changes | None = None) -> dict[str, Any]:
    why = {key: {"old_value": old, "new_value": new} for key, (old, new) in (changes or {}).items()}
    return member(name, role, pending_restart=True, pending_restart_reason=why)


def test_replicas_restart_before_the_primary_one_after_the_other() -> None:
    more = {"max_connections": ("100", "200")}
    assert whose_turn([waiting(A, "leader", changes=more), waiting(B, changes=more), waiting(C, changes=more)]) == B
    assert whose_turn([waiting(A, "leader", changes=more), member(B), waiting(C, changes=more)]) == C
    assert whose_turn([waiting(A, "leader", changes=more), member(B), member(C)]) == A


def test_nobody_restarts_while_another_one_is_not_well() -> None:
    assert whose_turn([waiting(A, "leader"), waiting(B), member(C, state="starting")]) is None


def test_a_lower_limit_reaches_the_primary_first_for_no_replica_may_have_less() -> None:
    less = {"max_connections": ("200", "100")}
    assert whose_turn([waiting(A, "leader", changes=less), waiting(B, changes=less)]) == A
    assert whose_turn([member(A, "leader"), waiting(B, changes=less)]) == B


def test_other_settings_may_go_down_on_a_replica() -> None:
    less = {"shared_buffers": ("32768", "16384")}
    assert whose_turn([waiting(A, "leader", changes=less), waiting(B, changes=less)]) == B


def test_at_rest_nobody_restarts() -> None:
    assert whose_turn([member(A, "leader"), member(B)]) is None


def test_a_restart_that_brought_nothing_is_not_repeated_but_by_a_replica_that_was_too_early() -> None:
    higher, lower = {"max_connections": ("100", "200")}, {"max_connections": ("200", "100")}
    for role, change, is_tried_again in (
        ("replica", lower, True),
        ("replica", higher, False),
        ("leader", lower, False),
        ("replica", {**lower, "shared_buffers": ("2", "1")}, False),
    ):
        found = waiting(A, role, changes=change)
        assert not was_in_vain(found, {}, 0.0), "the first time"
        assert was_in_vain(found, reasons(found), 0.0)
        assert was_in_vain(found, reasons(found), AGAIN_SECONDS) is not is_tried_again, (role, change)
