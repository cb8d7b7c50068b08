"""Which tests may run beside which."""

from __future__ import annotations

import pytest

from tests.rooms import room_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tests/lab/test_life.py::test_a", "tests/cluster/test_demo.py::test_b"),
        ("tests/chaos/test_short_set.py::test_a", "tests/cluster/test_demo.py::test_b[x::y]"),
        ("tests/backend/test_api.py::test_a", "tests/backend/test_cache.py::test_b"),
        ("tests/unit/test_rooms.py::test_a[x::y]", "tests/unit/test_rooms.py::test_b"),
    ],
)
def test_tests_that_use_the_same_servers_stay_together(one: str, other: str) -> None:
    assert room_of(one) == room_of(other)


def test_the_rooms_and_the_files_without_servers_that_are_shared_stand_apart() -> None:
    files = (
        "lab/test_life", "backend/test_api", "apiserver/test_drift", "apiserver/test_gates", "lease/test_two_operators",
        "unit/test_rooms", "unit/backend/test_cursor",
    )  # fmt: skip
    assert len({room_of(f"tests/{file}.py::test_a") for file in files}) == len(files)
