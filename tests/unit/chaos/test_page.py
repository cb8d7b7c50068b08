"""What a person reads on the page that tells all rows of the scorecard."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.page import page
from tests.chaos.scorecard import mixed, provenance, rows_of_runs
from tests.unit.chaos.made_runs import OLD, RUNS, a_run

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_tells_median_and_worst_and_what_was_missed() -> None:
    rows, names = rows_of_runs(RUNS)
    text = page(rows, names, "A noisy machine.")
    assert "| server process SIGKILLed | primary | alive | postgres | 3.5 (9.0) s | 3.5 (9.0) s |" in text
    assert "Rows that missed their aim: 0 of 4" in text
    slow, names = rows_of_runs([a_run(9.0, "2026-11-24T11:00")])
    assert "postgres-primary-sigkill, postgres, held: write_gap_s 9.0 > 4" in page(slow, names, "")


def test_the_page_says_what_a_time_to_whole_of_zero_means() -> None:
    text = page(*rows_of_runs([a_run(3.0, "2026-11-24T10:00", recovered_s=0.0)]), "")
    assert "| 0.0 s |" in text
    assert "0.0 s: it never called itself anything else" in " ".join(text.split())


MASTERS = {
    "reigns": 2, "acknowledged": 400, "lost": 20, "lost_in_flight": 1, "lost_within_lag": 19, "lost_unexplained": 0,
    "beside": 7, "two_writers_s": 0.8, "stale_reads": 2, "stale_s": 1.4, "unexplained": 0,
}  # fmt: skip


def test_the_page_tells_what_the_histories_say_of_redis_masters() -> None:
    told = []
    for run, masters in zip(
        RUNS[:2], (MASTERS, {**MASTERS, "acknowledged": 380, "lost": 3, "lost_within_lag": 2}), strict=True
    ):
        rows = [
            {**row, "masters": None, "isolated_stale_s": 6.5 if row["client"] == "held" else None}
            for row in run["rows"]
        ]
        redis = {**rows[0], "service": "redis", "isolated_stale_s": 44.0, "masters": masters}
        told.append({**run, "rows": [*rows, redis, {**redis, "client": "reconnecting", "masters": None}]})
    rows, names = rows_of_runs(told)
    line = "| postgres-primary-sigkill | 380 | 20 | 1 | 19 | 0 | 0.8 s, 7 | 2, 1.4 s | 44.0 s | 6.5 s | 2 |"
    assert page(rows, names, "").count(line) == 1
    assert rows[0]["repeats"][0]["isolated_stale_s"] == 6.5
    one = [{**run, "rows": [{**row, "masters": {**MASTERS, **QUIET}} for row in run["rows"]]} for run in RUNS]
    assert "by its clients' histories" not in page(*rows_of_runs(one), ""), "nothing to tell"
    assert "by its clients' histories" not in page(*rows_of_runs(RUNS), ""), "older runs"


QUIET = {"reigns": 1, "lost": 0, "beside": 0, "stale_reads": 0}


def test_the_page_quotes_what_kubectl_said_meanwhile() -> None:
    conditions = [
        *([0.0, kind, "True", "Healthy"] for kind in ("Ready", "HighlyAvailable", "PostgresReady")),
        [1.1, "Ready", "False", "NoPrimary"],
        [1.1, "HighlyAvailable", "False", "NoPrimary"],
        [1.1, "PostgresReady", "False", "NoPrimary"],
        [4.3, "Ready", "True", "Healthy"],
    ]
    text = page(*rows_of_runs([a_run(3.0, "2026-11-24T10:00", conditions=conditions)]), "")
    assert "\nReady: True, 1.1 s False NoPrimary, 4.3 s True; HighlyAvailable: True, 1.1 s False NoPrimary.\n" in text
    assert text.count("### postgres-primary-sigkill") == 1


def test_the_page_says_of_which_build_its_runs_are() -> None:
    one = [{**run, "commit": "abc", "images": {"redis": "r:1"}} for run in RUNS]
    assert provenance(one) == "All runs are of commit abc and of the same images."
    assert mixed([*one, one[0]]) == ""
    other = {**RUNS[0], "commit": "def", "images": {"redis": "r:2"}}
    assert provenance([*one, other]) == "**A mix**: 3 of commit abc, 1 of commit def, of different images."
    assert mixed([*one, other]).startswith("3 kept runs are of another commit")


def test_the_page_tells_of_each_row_when_and_of_which_commits_it_is() -> None:
    rows, names = rows_of_runs([{**RUNS[0], **OLD}, {**RUNS[1], **OLD, "commit": "d0c5"}])
    dirty = [{**row, "repeats": [{**row["repeats"][0], "commit": "0123456789ab-dirty"}]} for row in rows]
    assert "| 11-24, 0123456-dirty |" in page(dirty, names, "")
    assert "| 4 s | 2 | 11-24, 0ld, d0c5 |" in page(rows, names, "").replace(" **missed**", "")
