"""The examples of the guide are outputs that tests have seen."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("name", ["plan-memory-of-postgres", "status-broken"])
def test_the_guide_shows_real_outputs(name: str) -> None:
    output = (ROOT / "tests" / "apiserver" / "outputs" / f"{name}.txt").read_text()
    assert output in (ROOT / "docs" / "kubectl-plugin.md").read_text()
