"""What a person reads on the page of the scorecard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.chaos.page import notes_of, page
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


def test_what_people_wrote_on_the_page_outlives_the_next_run() -> None:
    rows, names = rows_of_runs(RUNS)
    assert notes_of(page(rows, names, "")) == ""
    written = page(rows, names, "", "- A stale read is no lost write.\n\n- Control: 106 lost.")
    assert notes_of(written) == "- A stale read is no lost write.\n\n- Control: 106 lost."
    again = page(rows[:2], names[:2], "later", notes_of(written))
    assert notes_of(again) == notes_of(written)
    assert again.index("## Notes") < again.index("- Control") < again.index("## Fault by fault")


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


def test_the_page_tells_how_many_messages_were_delivered_again_in_the_worst_run() -> None:
    def told(run: dict[str, Any], count: int) -> dict[str, Any]:
        return {**run, "rows": [{**row, "redelivered": count} for row in run["rows"]]}

    runs = [told(run, count) for run, count in zip(RUNS, (0, 7, 3), strict=True)]
    rows, names = rows_of_runs(runs)
    assert "Messages that the broker delivered again, and said so: 7 in the worst run." in page(rows, names, "")
    assert "delivered again" not in page(*rows_of_runs(RUNS), ""), "older runs do not tell"
