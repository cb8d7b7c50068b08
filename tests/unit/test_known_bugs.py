"""Every bug of others in docs/known-bugs.md is kept out by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "docs" / "known-bugs.md").read_text().splitlines()[6:] if not line.startswith("| **")]
NAMED = sorted({test for row in ROWS for test in re.findall(r"`(tests/[^`]+)`", row)})


@pytest.mark.parametrize("row", ROWS)
def test_every_bug_has_a_test(row: str) -> None:
    assert row.count("|") == 4
    assert "`tests/" in row.split("|")[3]


@pytest.mark.parametrize("named", NAMED)
def test_the_test_exists(named: str) -> None:
    path, _, name = named.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()
