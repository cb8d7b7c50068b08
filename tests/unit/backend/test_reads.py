"""Positions in PostgreSQL's log as text that compares as they do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appstack_backend.reads import as_lsn, comparable

HALF = st.integers(0, 0xFFFFFFFF)


@given(HALF, HALF, HALF, HALF)
def test_positions_compare_as_numbers(high: int, low: int, other_high: int, other_low: int) -> None:
    one, other = f"{high:X}/{low:X}", f"{other_high:X}/{other_low:X}"
    assert (comparable(one) < comparable(other)) == ((high, low) < (other_high, other_low))
    assert comparable(as_lsn(comparable(one))) == comparable(one)
    assert len(comparable(one)) == 16
