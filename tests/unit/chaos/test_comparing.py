"""When a scorecard reproduces another one, and which misses are known."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chaos.comparing import differences, extent, misses
from tests.chaos.page import page
from tests.chaos.scorecard import of_scenarios, published, rows_of_runs, scenario_of
from tests.unit.chaos.made_runs import RUNS, a_run

ROOT = Path(__file__).resolve().parents[3]


def test_the_card_that_is_published_is_read_and_misses_what_it_misses() -> None:
    card = json.loads((ROOT / "docs" / "scorecard.json").read_text())
    rows, names = rows_of_runs(published(card))
    assert rows == [row for row in card if scenario_of(row)]
    assert "Rows that missed their aim" in page(rows, names, "")
    known, new = misses(card, card)
    assert new == []
    assert len(known) == sum(not row["passed"] for row in card)


def test_only_what_was_asked_for_is_compared() -> None:
    rows, _ = rows_of_runs(RUNS)
    assert of_scenarios(rows, ["postgres-primary-sigkill"]) == rows
    assert of_scenarios(rows, ["node-cut"]) == []


def test_a_reproduction_has_the_same_rows_nothing_lost_and_medians_within_a_factor_of_two() -> None:
    committed, _ = rows_of_runs(RUNS)
    assert differences(committed, committed) == []
    near, _ = rows_of_runs([a_run(7.0, "2026-11-28T10:00", read_gap_s=0.9, recovered_s=4.5)])
    assert differences(near, committed) == []
    who = "server process SIGKILLed, primary, alive, postgres, held"
    assert f"{who}: write_gap_s 3.5 -> 7.2" in differences(rows_of_runs([a_run(7.2, "x")])[0], committed)
    never, _ = rows_of_runs([a_run(3.5, "x", recovered_s=None)])
    scenario = "server process SIGKILLed, primary, alive"
    assert differences(never, committed).count(f"{scenario}: recovered_s 9.0 -> None") == 1
    late, _ = rows_of_runs([a_run(3.5, "x", recovered_s=21.0)])
    assert f"{scenario}: recovered_s 9.0 -> 21.0" in differences(late, committed)
    soon, _ = rows_of_runs([a_run(3.5, "x", recovered_s=0.0)])
    assert differences(soon, committed) == [], "a pod's start and two looks are no difference"
    lossy, _ = rows_of_runs([a_run(3.5, "x", lost_acked=2)])
    assert f"{who}: 2 lost" in differences(lossy, committed)
    within = {"aim": {"write_gap_s": 6.0, "lost_acked_within_s": 4.0}}
    assert differences(rows_of_runs([a_run(3.5, "x", lost_acked=2, **within)])[0], committed) == []
    assert differences(committed[1:], committed) == ["server process SIGKILLed, primary, alive: not run"]


def test_a_comparison_tells_how_many_figures_it_is_of_and_how_many_its_floors_hide() -> None:
    committed, _ = rows_of_runs(RUNS)
    # Of each of four rows both gaps, the read gap 0.1 s; and the time to whole, 9 s, once.
    told = "9 medians compared; 5 are below these floors on both sides, where no difference shows"
    assert extent(committed, committed) == told
    slow, _ = rows_of_runs([a_run(3.5, "x", read_gap_s=1.1, recovered_s=None)])
    assert extent(slow, committed).startswith("9 medians compared; 0 are below")
    assert extent(committed[:1], committed).startswith("3 medians compared; 2 are below")
    assert extent([], committed).startswith("0 medians compared; 0 are below")


# What whole runs took (`took_s`) on two processors, 2026-11-28, load average 4 to 8. The rest of a run is the load's
# start, the recovery and the reads in the end: 17 to 25 s.
