"""When a Sentinel may forget members that are gone for good, and when it must not."""

from __future__ import annotations

from dataclasses import replace

from appstack_redis.ghosts import Known, ghosts, is_complete, may_forget
from appstack_redis.settings import Group

UP, DOWN = frozenset({"slave"}), frozenset({"slave", "s_down", "disconnected"})
GROUP = Group(
    "shop.shop",
    redis={f"shop-redis-{n}": f"10.0.0.{n}" for n in range(3)},
    sentinels={f"shop-redis-sentinel-{n}": f"10.0.1.{n}" for n in range(3)},
    min_replicas=1,
)
S0, S1, S2 = GROUP.sentinels
WELL = Known("10.0.0.0", frozenset({"master"}), {"10.0.0.1": UP, "10.0.0.2": UP}, {"10.0.1.1": UP, "10.0.1.2": UP})
HAUNTED = replace(WELL, replicas={**WELL.replicas, "10.0.0.3": DOWN}, sentinels={**WELL.sentinels, "10.0.1.4": DOWN})


def test_scaled_down_members_are_ghosts() -> None:
    """The bug of others: a Sentinel that was scaled away counts as a voter for ever."""
    assert ghosts(HAUNTED, GROUP) == ["10.0.0.3", "10.0.1.4"]
    assert ghosts(WELL, GROUP) == []


def test_a_member_that_is_down_is_no_ghost() -> None:
    assert ghosts(replace(WELL, replicas={**WELL.replicas, "10.0.0.2": DOWN}), GROUP) == []


def test_a_stranger_that_answers_is_not_forgotten_again_and_again() -> None:
    assert ghosts(replace(WELL, replicas={**WELL.replicas, "10.0.0.9": UP}), GROUP) == []


def test_the_first_sentinel_begins() -> None:
    everybody = dict.fromkeys(GROUP.sentinels, HAUNTED)
    assert [may_forget(pod, everybody, GROUP) for pod in GROUP.sentinels] == [True, False, False]


def test_the_next_one_waits_until_the_first_knows_everybody_again() -> None:
    fresh = replace(WELL, replicas={}, sentinels={})
    assert not is_complete(fresh, GROUP)
    assert not may_forget(S1, {S0: fresh, S1: HAUNTED, S2: HAUNTED}, GROUP)
    assert may_forget(S1, {S0: WELL, S1: HAUNTED, S2: HAUNTED}, GROUP)


def test_nobody_forgets_while_one_before_it_is_silent() -> None:
    assert not may_forget(S1, {S1: HAUNTED, S2: WELL}, GROUP)


def test_nobody_forgets_while_the_master_is_not_well_or_is_a_stranger() -> None:
    """After a reset there is nobody to promote for some seconds."""
    failing = replace(HAUNTED, master_flags=frozenset({"master", "s_down"}))
    foreign = replace(HAUNTED, master="10.9.9.9")
    assert not may_forget(S0, {S0: failing, S1: WELL, S2: WELL}, GROUP)
    assert not may_forget(S0, {S0: foreign, S1: WELL, S2: WELL}, GROUP)


def test_a_group_without_ghosts_is_left_alone() -> None:
    assert not may_forget(S0, dict.fromkeys(GROUP.sentinels, WELL), GROUP)
