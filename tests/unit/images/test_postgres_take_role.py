"""The role label moves with PostgreSQL's leader lock."""

from __future__ import annotations

from take_role import changes


def test_the_winner_takes_the_label_off_the_loser_first() -> None:
    roles = {"shop-postgres-0": "primary", "shop-postgres-1": "replica"}
    assert changes("shop-postgres-1", roles) == [("shop-postgres-0", None), ("shop-postgres-1", "primary")]


def test_the_loser_gets_no_other_role_for_it_may_be_dead() -> None:
    assert ("shop-postgres-0", None) in changes("shop-postgres-1", {"shop-postgres-0": "primary"})


def test_nothing_is_written_when_patroni_was_faster() -> None:
    assert changes("shop-postgres-1", {"shop-postgres-0": "replica", "shop-postgres-1": "primary"}) == []
