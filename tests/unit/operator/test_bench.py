"""The benchmark of the operator counts what it says, and shows which aims were missed."""

from __future__ import annotations

import subprocess
from typing import Any

from bench.operator.__main__ import ROWS, children_named, document, figures_in, table

METRICS = """
# TYPE appstack_passes_total counter
appstack_passes_total{result="done"} 5.0
# TYPE appstack_condition gauge
appstack_condition{condition="Ready",namespace="team-0",stack="shop"} 1.0
appstack_condition{condition="HighlyAvailable",namespace="team-0",stack="shop"} 0.0
appstack_condition{condition="Ready",namespace="team-1",stack="shop"} 1.0
"""


def measured(**changed: float) -> dict[str, Any]:
    """A size of which every figure is 1, but for these."""
    figures: dict[str, Any] = {}
    for _, _, path, _ in ROWS:
        first, _, last = path.partition(".")
        figures.setdefault(first, {})
        figures[first] = {**figures[first], last: 1.0} if last else 1.0
    rest = {"cpu_percent": 1.0, "passes_in_ten_minutes": 0.0, "writes": 0.0}
    return {**figures, "rest_with_polling": rest, "writes_after_restart": 0.0, **changed}


def row(page: str, name: str) -> str:
    (found,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    return found


def test_passes_are_told_from_the_stacks_that_had_one() -> None:
    figures = figures_in(METRICS)
    assert (figures["passes"], figures["stacks"]) == (5, 2)


def test_processes_are_found_by_their_names_among_the_own_ones() -> None:
    with subprocess.Popen(["sleep", "600"]) as mine:
        try:
            assert mine.pid in children_named("etcd", "sleep")
            assert mine.pid not in children_named("etcd")
        finally:
            mine.kill()


def test_a_missed_aim_is_seen_at_once() -> None:
    sizes = {20: measured(), 60: measured(first_write_busy_p99=8.57, converge_seconds=4.5)}
    page = table(sizes, document(sizes))
    assert row(page, "first write, 50 others change too, 99th percentile").endswith("| 1 | 1 | 8.57 **missed** |")
    assert row(page, "peak memory").endswith("| 400 | 1 | 1 |")
    assert row(page, "time to converge: growth, by that of the stacks").endswith("| 1 | | 1.5 **missed** |")
    assert row(page, "CPU to converge: growth, by that of the stacks").endswith("| 1 | | 0.333 |")
    missed = [each["name"] for each in document(sizes)["figures"] if each["missed"]]
    assert missed == ["60 stacks: first write, 50 others change too, 99th percentile"]
