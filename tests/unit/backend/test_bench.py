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


def test_a_name_that_is_no_benchmark_is_refused() -> None:
    assert bench.main(["nothing"]) == 2
