"""What a person reads in a minute: each kind of fault against its aim, and against what was measured elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.brief import KINDS, brief, kind_of, notes_of
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.scorecard import rows_of_runs
from tests.unit.chaos.made_runs import RUNS, a_run

KILLED = "| a server killed, a pod deleted with no grace |"


def told(*runs: dict[str, Any]) -> str:
    return brief(*rows_of_runs(runs), "")


def test_a_kind_of_fault_shows_its_worst_median_and_the_aim() -> None:
    aim = {"write_gap_s": 4.0, "read_gap_s": 2.0, "lost_acked": 0.0}
    runs = [a_run(3.0, "2026-11-24T10:00", aim=aim), a_run(3.4, "2026-11-24T11:00", aim=aim)]
    assert f"{KILLED} 3.2 (4) | - | - | 3.2 (4) | 0.1 (2) | 2 | - | 4 of 4 | 2 |" in told(*runs)


def test_who_tried_again_is_shown_by_the_worst_repeat() -> None:
    runs = [a_run(3.0, f"2026-11-24T1{number}:00") for number in range(3)]  # the last one had nobody who did
    for number, row, gap, failed in ((0, 0, 1.2, 0), (1, 0, 0.3, 0), (1, 3, 0.4, 1)):
        runs[number]["rows"][row] |= {"retrying_read_gap_s": gap, "retrying_failed_reads": failed}
    assert "| 2 | 1.2 s, 1 failed | 4 of 4 | 3 |" in told(*runs)


def test_what_misses_its_aim_is_bold_and_counted() -> None:
    slow = a_run(9.0, "2026-11-24T10:00")
    slow["rows"] = [row if row["client"] == "held" else {**row, "write_gap_s": 3.0} for row in slow["rows"]]
    slow["rows"] = [{**row, "passed": row["write_gap_s"] <= 4} for row in slow["rows"]]
    text = told(slow)
    assert f"{KILLED} **9.0** (4) | - | - | **9.0** (4) | - | 2 | - | 2 of 4 | 1 |" in text
    assert "2 of 4 rows keep their aim." in text


def test_who_was_never_served_again_is_said_to_be() -> None:
    runs = [a_run(3.0, f"2026-11-24T1{number}:00") for number in range(3)]
    for run in runs[1:]:
        run["rows"][0]["write_gap_s"] = None
    assert "| **never** (4) |" in told(*runs)


def test_a_figure_that_could_not_be_taken_is_no_figure_that_nobody_asked_for() -> None:
    run = a_run(3.0, "2026-11-24T10:00")
    run["rows"][3] |= {"write_gap_s": None, "aim": {"lost_acked": 0.0}}
    assert "| 3.0 (4) | - | - | 3.0 (4) |" in told(run)
    run["rows"][3]["aim"] = run["rows"][0]["aim"]
    assert "| 3.0 (4) | - | - | **never** (4) |" in told(run)


def test_a_service_that_the_fault_should_leave_alone_is_shown_where_it_did_not() -> None:
    run = a_run(3.0, "2026-11-24T10:00")
    for gap, cell in ((1.9, "-"), (26.6, "**26.6** (2)")):
        redis = {**run["rows"][0], "service": "redis", "write_gap_s": gap, "aim": {"write_gap_s": 2.0}}
        rows = [*run["rows"], redis, {**redis, "client": "reconnecting"}]
        assert f"{KILLED} 3.0 (4) | {cell} | - | 3.0 (4) |" in told({**run, "rows": rows})


def test_the_verdict_counts_what_was_lost_in_all_repeats_together() -> None:
    """A row itself tells of its worst repeat."""
    runs = []
    for number, isolated in enumerate((0.0, 3.61, 0.0)):
        bad = a_run(3.0, f"2026-11-24T1{number}:00", lost_acked=2, duplicated=1, isolated_ack_s=isolated)
        redis = {**bad["rows"][0], "service": "redis", "lost_acked": 7}
        runs.append({**bad, "rows": [*bad["rows"], redis, {**redis, "client": "reconnecting", "lost_acked": 0}]})
    text = told(*runs)
    # In three runs, of PostgreSQL and the API, by both kinds of client.
    assert (
        "**3 runs: 24 acknowledged PostgreSQL writes, confirmed messages and accepted rows lost, 12 done twice" in text
    )
    assert "acknowledged for 3.6 s at most.**" in text
    assert "lost 21 keys" in text


def test_that_nobody_was_inside_a_cut_is_not_said_to_be_no_acknowledgement() -> None:
    assert "a cut-off" not in told(*RUNS)


def test_it_tells_how_many_messages_were_delivered_again_in_the_worst_run() -> None:
    runs = [
        {**run, "rows": [{**row, "redelivered": count} for row in run["rows"]]}
        for run, count in zip(RUNS, (0, 7, 3), strict=True)
    ]
    assert "Messages that the broker delivered again, and said so: 7 in the worst run." in told(*runs)
    assert "delivered again" not in told(*RUNS), "older runs do not tell"


def test_a_fault_stands_beside_what_was_measured_of_it_elsewhere() -> None:
    about = "[postgres-primary-sigkill](scorecard/postgres-primary-sigkill.svg), PostgreSQL"
    assert f"| {about} | 3.5 (9.0) s | 3.5 (9.0) s | 3.9, bare Patroni | CloudNativePG 1.30: 7.5 |" in told(*RUNS)
    other = {**RUNS[0], "scenario": "worker-deleted"}
    assert "elsewhere" not in told(other)


def test_every_fault_is_of_one_kind_that_has_a_line() -> None:
    kinds = {name: kind_of(scenario) for name, scenario in SCENARIOS.items()}
    assert set(kinds.values()) == set(KINDS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("redis-master-deleted", "planned: a pod deleted, another image, other resources"),
        ("upgrade-rabbitmq", "planned: a pod deleted, another image, other resources"),
        ("nodes-drained", "planned: nodes drained"),
        ("worker-no-grace", "a server killed, a pod deleted with no grace"),
        ("api-pod-frozen", "a pod or its server frozen for 30 s"),
        ("node-cut-out", "a node cut off (one way, both) or crashed"),
        ("node-crashed-no-operator", "a node cut off (one way, both) or crashed, operator absent"),
        (
            "node-cut-two-with-operator",
            "the node of both leaders, of PostgreSQL and of Redis, operator on the lost node",
        ),
        ("node-cut-three", "a node cut off under ten times the load, or with two standbys"),
        ("dns-down", "API server or name servers away"),
        ("disk-full", "the disk full"),
    ],
)
def test_faults_of_a_kind(name: str, kind: str) -> None:
    assert kind_of(SCENARIOS[name]) == kind


def test_what_people_wrote_on_the_page_outlives_the_next_run() -> None:
    rows, names = rows_of_runs(RUNS)
    assert notes_of(brief(rows, names, "")) == ""
    written = brief(rows, names, "", "- A stale read is no lost write.\n\n- Control: 106 lost.")
    assert notes_of(written) == "- A stale read is no lost write.\n\n- Control: 106 lost."
    again = brief(rows[:2], names[:2], "later", notes_of(written))
    assert notes_of(again) == notes_of(written)
    assert again.index("## What is missed, and why") < again.index("- Control") < again.index("## Timelines")


def test_every_timeline_is_a_link() -> None:
    assert told(*RUNS).endswith("## Timelines\n[postgres-primary-sigkill](scorecard/postgres-primary-sigkill.svg)\n")
