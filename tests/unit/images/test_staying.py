"""How long a primary that hands over keeps its role label."""

from __future__ import annotations

import pytest
from staying import LONGEST_SECONDS, may_stay

A, B = "shop-postgres-0", "shop-postgres-1"


def test_it_stays_until_its_successor_has_the_label() -> None:
    assert may_stay(A, {A: "primary", B: "replica"}, "primary", 1.0)
    assert not may_stay(A, {A: "primary", B: "primary"}, "primary", 1.0)


def test_it_does_not_stay_for_ever() -> None:
    assert not may_stay(A, {A: "primary", B: "replica"}, "primary", LONGEST_SECONDS)


@pytest.mark.parametrize("role", ["replica", None])
def test_nobody_stays_without_the_label(role: str | None) -> None:
    assert not may_stay(A, {A: role, B: "replica"}, "primary", 1.0)
    assert not may_stay(A, {A: role, B: "primary"}, "primary", 1.0)
    assert not may_stay(A, {}, "primary", 1.0)
