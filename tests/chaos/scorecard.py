"""The scorecard: many runs become rows with medians. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from hashlib import sha256
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.chaos.scenarios import SCENARIOS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

Row = dict[str, Any]
Run = dict[str, Any]

KEYS = (
    "fault",
    "service",
    "role",
    "write_gap_s",
    "read_gap_s",
    "failed_requests",
    "lost_acked",
    "duplicated",
    "isolated_ack_s",
    "recovered_s",
    "slow_requests",
    "operator",
    "client",
    "conditions",
    "aim",
    "passed",
    "repeats",
)
TIMES = ("write_gap_s", "read_gap_s", "isolated_ack_s", "recovered_s")
COUNTS = ("failed_requests", "lost_acked", "duplicated", "slow_requests")
IDENTITY = ("fault", "role", "operator", "service", "client")
SCENARIO_OF = {(each.fault, each.role, each.operator): name for name, each in SCENARIOS.items()}
OF_REPEAT = (*TIMES, *COUNTS, "passed", "promises_kept", "other_findings")
NEWER_COUNTS = ("failed_reads", "retrying_failed_reads")  # of users of the API, where the repeats tell them
OF_NEWER_REPEAT = (
    "isolated_stale_s",
    "masters",
    *NEWER_COUNTS,
    "retrying_read_gap_s",
    "redelivered",
    "conditions",
)  # not in runs that are older than these figures
OF_NEWER_RUN = ("where",)  # on which nodes things were as the fault struck


def rows_of_runs(runs: Iterable[Run]) -> tuple[list[Row], list[str]]:
    """One row per scenario, service and kind of client: medians of times, the worst of counts, every repeat.

    Returns the rows and the scenario of each.
    """
    grouped: dict[tuple[str, str, str], list[tuple[Run, Row]]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (order(run["scenario"]), run["date"])):
        for row in run["rows"]:
            grouped[run["scenario"], row["service"], row["client"]].append((run, row))
    return [combined(members) for members in grouped.values()], [scenario for scenario, _, _ in grouped]


def order(scenario: str) -> int:
    """Where a scenario stands on the scorecard."""
    return list(SCENARIOS).index(scenario) if scenario in SCENARIOS else len(SCENARIOS)


def combined(members: Sequence[tuple[Run, Row]]) -> Row:
    """The repeats of one row as one: it has passed if its medians keep the aim and every repeat kept its promises."""
    rows = [row for _, row in members]
    aim = rows[-1]["aim"]
    middle = sorted(rows, key=lambda row: rank(row["write_gap_s"]))[len(rows) // 2]
    figures = {key: middle_of(row[key] for row in rows if key not in not_asked(row, aim)) for key in TIMES}
    figures |= {key: max(row[key] for row in rows) for key in COUNTS}
    told = {key: [row[key] for row in rows if row.get(key) is not None] for key in NEWER_COUNTS}
    newer = {key: max(counts) for key, counts in told.items() if counts}
    whole = {
        **{key: rows[-1][key] for key in ("fault", "service", "role", "operator", "client", "aim")},
        **figures,
        "conditions": middle["conditions"] if "conditions" in middle else middle["conditions_of_row"],
        "passed": keeps_aim({**figures, **newer}, rows[-1]) and all(keeps_promises(row) for row in rows),
        "repeats": [
            {
                "date": run["date"],
                "n": number,
                "load_average": run["load_average"],
                "commit": run.get("commit", ""),
                "images": mark_of(run),
                **{key: row[key] for key in OF_REPEAT},
                **{key: row[key] for key in OF_NEWER_REPEAT if key in row},
                **{key: run[key] for key in OF_NEWER_RUN if key in run},
                **({"not_asked": missing} if (missing := not_asked(row, aim)) else {}),
            }
            for number, (run, row) in enumerate(members, 1)
        ],
    }
    return {key: whole[key] for key in KEYS}


def not_asked(row: Row, aim: Collection[str]) -> list[str]:
    """The figures of an aim of today that an older repeat could not tell: nobody had asked for them."""
    return [key for key in aim if key in row and row[key] is None and key not in row["aim"]]


def rank(value: float | None) -> float:
    """A figure that could not be taken stands behind all others."""
    return inf if value is None else value


def middle_of(values: Iterable[float | None]) -> float | None:
    """The median of all repeats; None where it falls on one in which the figure could not be taken."""
    middle = median(rank(value) for value in values)
    return round(middle, 2) if middle < inf else None


def keeps_aim(figures: Row, row: Row) -> bool:
    """Whether the medians are within the aim; a median that could not be taken is not."""
    limits = {key: limit for key, limit in row["aim"].items() if key in figures and key != "lost_acked"}
    return all(rank(figures[key]) <= limit for key, limit in limits.items())


def keeps_promises(row: Row) -> bool:
    """Nothing lost, doubled, stale or invented, but for what Redis may lose."""
    return bool(row["promises_kept"])


def typical(runs: Sequence[Run], service: str) -> tuple[Run, str]:
    """The run whose write gap is the median, and in words which one it is; by the service that the fault is about."""
    about = service if service in SERVICES else "api"

    def gap_of(run: Run) -> float:
        held = [row for row in run["rows"] if (row["service"], row["client"]) == (about, "held")]
        return rank(held[0]["write_gap_s"]) if held else inf

    number, run = sorted(enumerate(runs, 1), key=lambda each: gap_of(each[1]))[len(runs) // 2]
    return run, f"repeat {number} of the {len(runs)} of then (by its write gap the median), " if len(runs) > 1 else ""


def builds(runs: Iterable[Run]) -> Counter[tuple[str, str]]:
    """How many runs are of which commit and images."""
    return Counter((run.get("commit") or "unknown", mark_of(run)) for run in runs)


def mark_of(run: Run) -> str:
    """A short word for the images of a run; of one that was published it is all that is known. Empty: not known."""
    images = run.get("images") or ""
    return images if isinstance(images, str) else sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()[:8]


def provenance(runs: Iterable[Run]) -> str:
    """What was measured, for the page."""
    found = builds(runs)
    parts = [f"{count} of commit {commit}" for (commit, _), count in found.items()]
    if len(found) == 1:
        return f"All runs are {parts[0].partition(' ')[2]} and of the same images."
    images = "of the same images" if len({images for _, images in found}) == 1 else "of different images"
    return f"**A mix**: {', '.join(parts)}, {images}."


def mixed(runs: Sequence[Run]) -> str:
    """A warning where kept runs are not of what would be run now (the last one); empty where they are."""
    found = builds(runs[:-1])
    others = sum(found.values()) - found[next(iter(builds(runs[-1:])))]
    return f"{others} kept runs are of another commit or other images: FRESH=1 forgets them.\n" if others else ""


def as_text(rows: Iterable[Row]) -> str:
    """scorecard.json: a list of objects, one to a line, so that a difference shows which rows have changed."""
    return "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n"


# What was published before


def published(rows: Iterable[Row]) -> list[Run]:
    """The runs behind published rows, as far as these tell of them: `rows_of_runs` makes the same rows of them again.

    Without rows of scenarios that are no more.
    """
    runs: dict[tuple[str, str], Run] = {}
    for row in rows:
        if not (name := scenario_of(row)):
            continue
        # Of older repeats the median's conditions alone were kept: whose they were is not known any more.
        own = {**{key: row[key] for key in IDENTITY}, "conditions_of_row": row["conditions"]}
        for repeat in row["repeats"]:
            aim = {key: limit for key, limit in row["aim"].items() if key not in repeat.get("not_asked", ())}
            about = {key: repeat.get(key, "") for key in ("date", "load_average", "commit", "images")}
            about |= {key: repeat[key] for key in OF_NEWER_RUN if key in repeat}
            run = runs.setdefault((name, repeat["date"]), {"scenario": name, **about, "rows": []})
            run["rows"].append({**own, **repeat, "aim": aim})
    return list(runs.values())


def scenario_of(row: Row) -> str:
    """The scenario that a row is of; empty where there is none any more."""
    return SCENARIO_OF.get((row["fault"], row["role"], row["operator"]), "")


def of_scenarios(rows: Iterable[Row], names: Collection[str]) -> list[Row]:
    """The rows of these scenarios."""
    return [row for row in rows if scenario_of(row) in names]


def together(before: Sequence[Run], fresh: Sequence[Run]) -> list[Run]:
    """All that counts now: of each scenario that was run anew, the runs with the images of the newest one."""
    newest = {run["scenario"]: mark_of(run) for run in sorted(fresh, key=lambda run: run["date"])}
    known = {(run["scenario"], run["date"]) for run in fresh}
    every = [*(run for run in before if (run["scenario"], run["date"]) not in known), *fresh]
    return [run for run in every if newest.get(run["scenario"], mark_of(run)) == mark_of(run)]
