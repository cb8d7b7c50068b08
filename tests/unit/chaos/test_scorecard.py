"""Runs become rows, rows become a page and plots."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.chaos.page import page
from tests.chaos.plots import plot
from tests.chaos.scenarios import CORE, SCENARIOS
from tests.chaos.scorecard import (
    KEYS,
    NEWER_COUNTS,
    as_text,
    published,
    rows_of_runs,
    scenario_of,
    together,
    typical,
)
from tests.unit.chaos.made_runs import NEW, OLD, RUNS, a_run, without

ROOT = Path(__file__).resolve().parents[3]


def test_a_row_has_exactly_the_keys_of_the_contract_the_median_and_every_repeat() -> None:
    rows, names = rows_of_runs(reversed(RUNS))
    assert names == ["postgres-primary-sigkill"] * 4
    first = rows[0]
    assert tuple(first) == KEYS
    assert first["write_gap_s"] == 3.5
    assert first["passed"]
    assert [(repeat["n"], repeat["write_gap_s"]) for repeat in first["repeats"]] == [(1, 3.0), (2, 9.0), (3, 3.5)]


def test_the_file_is_a_list_with_a_row_to_a_line() -> None:
    rows, _ = rows_of_runs(RUNS)
    text = as_text(rows)
    assert json.loads(text) == rows
    assert len(text.splitlines()) == len(rows) + 2


def test_one_repeat_that_lost_something_fails_the_row() -> None:
    bad = a_run(3.0, "2026-11-24T13:00", lost_acked=1, promises_kept=False, passed=False)
    rows, _ = rows_of_runs([*RUNS, bad])
    assert [row["lost_acked"] for row in rows] == [1, 1, 1, 1]
    assert not any(row["passed"] for row in rows)


def test_a_figure_that_most_repeats_could_not_take_is_missed_and_told() -> None:
    for few, passed in ((1, True), (2, False), (3, False)):
        runs = [a_run(3.0, f"2026-11-24T1{n}:00") for n in range(3)]
        for bad in runs[:few]:
            for each in bad["rows"]:
                each["write_gap_s"] = None
        rows, names = rows_of_runs(runs)
        assert rows[0]["passed"] is passed, few
        assert (rows[0]["write_gap_s"] is None) is not passed
        assert ("write_gap_s None > 4" in page(rows, names, "")) is not passed


def test_a_figure_that_nobody_asked_older_repeats_for_is_the_median_of_the_others() -> None:
    """The API had no writer that reconnects: its gap was no part of the aim, and nobody's failure."""
    older = [a_run(3.0, f"2026-11-24T1{n}:00", write_gap_s=None, aim={"lost_acked": 0.0}) for n in range(3)]
    newer = [a_run(gap, f"2026-12-01T1{n}:00") for n, gap in enumerate((3.0, 3.5))]
    rows, names = rows_of_runs([*older, *newer])
    assert (rows[0]["write_gap_s"], rows[0]["passed"]) == (3.25, True)
    assert [repeat.get("not_asked") for repeat in rows[0]["repeats"]] == [["write_gap_s"]] * 3 + [None] * 2
    assert rows_of_runs(published(rows)) == (rows, names)
    failed = a_run(3.0, "2026-12-01T13:00", write_gap_s=None)
    assert rows_of_runs([*older, failed])[0][0]["passed"] is False, "asked for, and never served"


@pytest.mark.parametrize("count", NEWER_COUNTS)
def test_a_failed_read_of_one_repeat_fails_the_row_also_beside_repeats_that_did_not_tell(count: str) -> None:
    aim = {"write_gap_s": 4.0, count: 0.0}
    reads = [a_run(3.0, f"2026-11-30T1{n}:00", aim=aim, **{count: n}) for n in range(2)]
    rows, names = rows_of_runs([*RUNS, *reads])
    assert not rows[0]["passed"]
    assert tuple(rows[0]) == KEYS
    assert f"postgres, held: {count} 1 > 0" in page(rows, names, "")
    assert rows_of_runs(published(rows)) == (rows, names)
    assert rows_of_runs([*RUNS, reads[0]])[0][0]["passed"]
    assert rows_of_runs(RUNS)[0][0]["passed"]


def test_a_repeat_after_which_the_stack_did_not_come_back_fails_the_row_and_is_told() -> None:
    bad = a_run(3.0, "2026-11-24T13:00", recovered_s=None, promises_kept=False, passed=False)
    rows, names = rows_of_runs([*RUNS, bad])
    assert not rows[0]["passed"]
    assert "| 9.0 (never) s |" in page(rows, names, "")


def test_the_plot_is_an_image_with_a_lane_per_service_and_marks() -> None:
    picture = ET.fromstring(plot("a < b", *typical(RUNS, "postgres")))
    words = ["".join(each.itertext()) for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "PostgreSQL", "API", "fault", "primary: 1", "master: nobody"} <= set(words)
    assert "repeat 3 of the 3 of then (by its write gap the median)" in " ".join(words)


def test_the_plot_is_of_the_median_repeat() -> None:
    run, _ = typical(RUNS, "postgres")
    assert run is RUNS[2]
    assert typical(RUNS[:1], "worker-bulk") == (RUNS[0], "")


def test_every_scenario_is_known_by_what_its_rows_say() -> None:
    for name, each in SCENARIOS.items():
        assert scenario_of({"fault": each.fault, "role": each.role, "operator": each.operator}) == name


def test_published_rows_are_runs_again_of_which_the_same_rows_are_made() -> None:
    rows, names = rows_of_runs([{**run, **OLD} for run in RUNS])
    assert rows_of_runs(published(rows)) == (rows, names)
    assert [run["commit"] for run in published(rows)] == ["0ld"] * 3
    older = [{**row, "repeats": [without(each, "commit", "images") for each in row["repeats"]]} for row in rows]
    assert {run["commit"] for run in published(older)} == {""}
    assert published([{**row, "role": "a role of before"} for row in rows]) == []


def test_where_things_were_is_kept_with_each_repeat_that_says_so() -> None:
    where = {"victim": "n1", "operator": "n2", "api": ["n1", "n2"]}
    rows, names = rows_of_runs([RUNS[0], {**RUNS[1], "where": where}])
    assert [repeat.get("where") for repeat in rows[0]["repeats"]] == [None, where]
    assert rows_of_runs(published(rows)) == (rows, names)


def test_each_repeat_keeps_its_own_conditions_and_the_row_those_of_the_median() -> None:
    told = [[[float(n), "Ready", "False", "NoPrimary"]] for n in range(3)]
    runs = [
        {**run, "rows": [{**row, "conditions": mine} for row in run["rows"]]}
        for run, mine in zip(RUNS, told, strict=True)
    ]
    rows, names = rows_of_runs(runs)
    assert tuple(rows[0]) == KEYS
    assert [repeat["conditions"] for repeat in rows[0]["repeats"]] == told
    assert rows[0]["conditions"] == told[2], "3.5 s are the median"
    assert rows_of_runs(published(rows)) == (rows, names)


def test_a_repeat_that_was_published_without_its_conditions_is_not_given_those_of_another_one() -> None:
    rows, names = rows_of_runs(RUNS)
    older = [{**row, "repeats": [without(each, "conditions") for each in row["repeats"]]} for row in rows]
    assert rows_of_runs(published(older)) == (older, names)
    newer = a_run(3.4, "2026-12-01T10:00", conditions=[[1.0, "Ready", "False", "NoPrimary"]])
    first = rows_of_runs([*published(older), newer])[0][0]
    assert [repeat.get("conditions") for repeat in first["repeats"]] == [None] * 3 + [newer["rows"][0]["conditions"]]


def test_a_published_row_stands_until_it_is_run_with_other_images() -> None:
    before = published(rows_of_runs([{**run, **OLD} for run in RUNS])[0])
    more = {**a_run(3.0, "2026-11-30T10:00"), **OLD, "commit": "d0c5"}
    assert len(together(before, [more])) == 4
    assert len(together(before, [more, {**RUNS[0], **OLD}])) == 4, "published already"
    newer = {**a_run(3.0, "2026-11-30T11:00"), **NEW}
    assert together(before, [newer]) == [newer]
    assert together(before, [more, newer]) == [newer], "also where runs of before are still kept"
    other = {**newer, "scenario": "redis-master-sigkill"}
    assert together(before, [other]) == [*before, other]


TOOK_SECONDS = {"postgres-primary-sigkill": 40.0, "node-cut": 84.9, "upgrade-backend": 46.8}


def test_the_core_fits_its_time() -> None:
    rest = max(took - SCENARIOS[name].watch_seconds for name, took in TOOK_SECONDS.items())
    assert rest > 15
    assert len(CORE) <= 15
    core = sum(TOOK_SECONDS.get(name, SCENARIOS[name].watch_seconds + rest) for name in CORE)
    assert core * 3 < 75 * 60 * 0.7
