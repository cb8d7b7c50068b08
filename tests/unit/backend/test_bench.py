"""The documents that benchmarks write, and the table made of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import bench.__main__ as bench
from bench import measure
from bench.measure import Figure, write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_document_has_name_unit_value_baseline_ratio_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    figure = Figure("GET", "requests/s", "the peer", runs=[300.0, 100.0, 200.0], baseline_runs=[50.0, 100.0], aim=3.0)
    document = json.loads(write("requests", [figure]).read_text())
    assert document.keys() >= {"name", "measured_at", "machine", "load", "figures"}
    (told,) = document["figures"]
    assert {name: told[name] for name in ("name", "unit", "value", "baseline", "ratio", "runs", "spread")} == {
        "name": "GET",
        "unit": "requests/s",
        "value": 200.0,
        "baseline": 75.0,
        "ratio": 2.667,
        "runs": [300.0, 100.0, 200.0],
        "spread": [100.0, 300.0],
    }
    assert "| GET | requests/s | 200 (100-300) | the peer | 75.00 (50.00-100.00) | 2.67 | 3.0 |" in bench.table()


def test_what_was_not_measured_here_stays_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make bench-import` in a fresh clone is not to take all other figures away."""
    published = bench.PAGE.read_text()
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    assert bench.table() == published
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    write("export", [Figure("export as CSV", "rows/s", "COPY", runs=[1.0], baseline_runs=[2.0])])
    page = bench.table()
    assert "| export as CSV | rows/s | 1.00 (1.00-1.00) | COPY | 2.00 (2.00-2.00) | 0.50 |" in page
    names = [line for line in published.splitlines() if line.startswith("## ")]
    assert [line for line in page.splitlines() if line.startswith("## ")] == names
    assert [one for one in page.splitlines() if "of the API" in one] == [
        one for one in published.splitlines() if "of the API" in one
    ]


def test_a_name_that_is_no_benchmark_is_refused() -> None:
    assert bench.main(["nothing"]) == 2
