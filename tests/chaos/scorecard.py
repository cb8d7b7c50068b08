"""The scorecard: many runs become rows with medians, as JSON and as a page. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from hashlib import sha256
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.judgements import judgements, worst_of
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
FACTOR = 2.0  # between the medians of two scorecards, where one reproduces the other
# What is shorter counts as so long: a client's own rhythm, and one start of a pod with two looks of the operator.
GAP_SECONDS, RECOVERY_SECONDS = 1.0, 10.0
REPRODUCED = (
    f"same rows, nothing lost, medians within a factor of {FACTOR:g} (gaps under {GAP_SECONDS:g} s count as that, "
    f"times to whole under {RECOVERY_SECONDS:g} s too)"
)
SCENARIO_OF = {(each.fault, each.role, each.operator): name for name, each in SCENARIOS.items()}
OF_REPEAT = (*TIMES, *COUNTS, "passed", "promises_kept", "other_findings")
OF_NEWER_REPEAT = ("isolated_stale_s", "masters", "failed_reads")  # not in runs that are older than these figures
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
    middle = sorted(rows, key=lambda row: rank(row["write_gap_s"]))[len(rows) // 2]
    figures = {key: middle_of(row[key] for row in rows) for key in TIMES}
    figures |= {key: max(row[key] for row in rows) for key in COUNTS}
    reads = [row["failed_reads"] for row in rows if row.get("failed_reads") is not None]
    whole = {
        **{key: rows[-1][key] for key in ("fault", "service", "role", "operator", "client", "aim")},
        **figures,
        "conditions": middle["conditions"],
        "passed": keeps_aim({**figures, **({"failed_reads": max(reads)} if reads else {})}, rows[-1])
        and all(keeps_promises(row) for row in rows),
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
            }
            for number, (run, row) in enumerate(members, 1)
        ],
    }
    return {key: whole[key] for key in KEYS}


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


# What was published before


def published(rows: Iterable[Row]) -> list[Run]:
    """The runs behind published rows, as far as these tell of them: `rows_of_runs` makes the same rows of them again.

    Without rows of scenarios that are no more.
    """
    runs: dict[tuple[str, str], Run] = {}
    for row in rows:
        if not (name := scenario_of(row)):
            continue
        own = {key: row[key] for key in (*IDENTITY, "aim", "conditions")}
        for repeat in row["repeats"]:
            about = {key: repeat.get(key, "") for key in ("date", "load_average", "commit", "images")}
            about |= {key: repeat[key] for key in OF_NEWER_RUN if key in repeat}
            run = runs.setdefault((name, repeat["date"]), {"scenario": name, **about, "rows": []})
            run["rows"].append({**own, **repeat})
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


# The reproduction


def misses(rows: Iterable[Row], committed: Iterable[Row]) -> tuple[list[str], list[str]]:
    """Which rows miss only aims that their published rows miss, too, and which miss others, with these in words.

    What was lost, done twice or stale in any repeat is never merely known.
    """
    before = {identity(row): row for row in committed}
    known, new = [], []
    for row in rows:
        over = missed(row)
        published_row = before.get(identity(row))
        fresh = [words for key, words in over.items() if published_row is None or not misses_too(published_row, key)]
        who = f"{scenario_of(row)}, {row['service']}, {row['client']}"
        if fresh or not all(map(keeps_promises, row["repeats"])):
            new.append(f"{who}: {'; '.join(fresh) or why(row)}")
        elif over:
            known.append(who)
    return known, new


def misses_too(row: Row, key: str) -> bool:
    """Whether a published row is beyond this limit, as far as it tells: an older one did not tell reads from writes."""
    if key == "failed_reads" and worst_of(row, key) is None:
        return bool(row["failed_requests"])
    return key in missed(row)


def identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in IDENTITY)


def differences(rows: Sequence[Row], committed: Sequence[Row]) -> list[str]:
    """Where one scorecard does not reproduce another: missing rows, what must not be lost, medians beyond a factor.

    The time to whole is a scenario's, and told once.
    """
    ours, theirs = (dict.fromkeys(identity(row) for row in each) for each in (rows, committed))
    told = [f"{', '.join(key)}: not run" for key in dict.fromkeys(key[:3] for key in theirs if key not in ours)]
    gone = {identity(row): row["lost_acked"] for row in rows if "lost_acked" in row["aim"]}
    told += [f"{', '.join(key)}: {count} lost" for key, count in gone.items() if count]
    return told + [
        f"{', '.join(each.whose)}: {each.figure} {each.before} -> {each.now}"
        for each in pairs(rows, committed)
        if not is_near(each.before, each.now, each.least_seconds)
    ]


class Pair(NamedTuple):
    """The medians of a figure on two scorecards."""

    whose: tuple[str, ...]
    figure: str
    before: float | None
    now: float | None
    least_seconds: float


def pairs(rows: Iterable[Row], committed: Iterable[Row]) -> list[Pair]:
    """What two scorecards both tell; the time to whole, which is a scenario's, once for each way that it is told."""
    before = {identity(row): row for row in committed}
    found = []
    for row in rows:
        key = identity(row)
        for figure in TIMES if key in before else ():
            one, other = before[key][figure], row[figure]
            whose, least = (key[:3], RECOVERY_SECONDS) if figure == "recovered_s" else (key, GAP_SECONDS)
            if (one, other) != (None, None):
                found.append(Pair(whose, figure, one, other, least))
    return list(dict.fromkeys(found))


def extent(rows: Iterable[Row], committed: Iterable[Row]) -> str:
    """How many figures a comparison is of, and of how many it could not have told a difference."""
    found = pairs(rows, committed)
    below = sum(max(rank(each.before), rank(each.now)) <= each.least_seconds for each in found)
    return f"{len(found)} medians compared; {below} are below these floors on both sides, where no difference shows"


def is_near(one: float | None, other: float | None, least_seconds: float) -> bool:
    """Whether two medians are within the factor of each other; what is shorter counts as `least_seconds`."""
    low, high = sorted(max(least_seconds, rank(each)) for each in (one, other))
    return high <= FACTOR * low


# The page


NOTES = "## Notes"
FAULTS = "## Fault by fault"


def page(rows: Sequence[Row], names: Sequence[str], machine: str, notes: str = "") -> str:
    """docs/scorecard.md: `names` are the scenarios of the rows, in the same order; `notes` are kept as they are."""
    scenarios = list(dict.fromkeys(names))
    lines = [HEAD.format(machine=machine), table(rows, names), "", *summary(rows, names), ""]
    lines += judgements(rows, names)
    if notes:
        lines += [NOTES, notes, ""]
    lines.append(FAULTS)
    for scenario in scenarios:
        lines += ["", f"### {scenario}", f"![timeline of {scenario}](scorecard/{scenario}.svg)"]
    return "\n".join(lines) + "\n"


def notes_of(page_before: str) -> str:
    """What people have written between the figures and the plots of the page."""
    _, found, rest = page_before.partition(f"\n{NOTES}\n")
    return rest.partition(f"\n{FAULTS}")[0].strip() if found else ""


HEAD = """# Chaos scorecard
Written by `make chaos` ([how](../tests/chaos/)); every figure and every repeat is in [scorecard.json](scorecard.json).
Clients write single rows, keys, messages and products 5 to 10 times a second each, from a node that is not the
victim's, over connections that they *hold*, or *reconnecting* for every operation.

- **Operator**: of a lost node *alive* means that the one that leads is on another node (in rows until 59fa782 it was
  luck); *on the lost node*: it is there, and another one waits elsewhere (until then: all of them were there).
  Where it was, the API's pods and every leader, each newer repeat says (`where`).
- **Gap**: the longest time between two acknowledged writes (reads) around the fault: median, and the worst in brackets.
- **User**: API requests that failed / took over 1 s, in the worst repeat. A read that failed fails its row, unless two
  leaders are lost at once (rows until 59fa782 did not tell reads from writes, and did not fail).
- **Isolated**: for how long the cut-off side acknowledged to a client inside it that had connected before the cut.
- **Lost**: acknowledged writes, confirmed messages and accepted rows that are gone, and rows that a fresh read had
  shown, in the worst repeat.
- **Whole**: seconds to `HighlyAvailable` again, *never*: not in 7 minutes; after a node's loss counted
  from its return, with the operator absent from the operator's, whose start it includes (rows until 59fa782: from the
  node's); -: nobody was there who would have called it otherwise. 0.0 s: it never called itself anything else, for what
  is mended between two looks of the operator (a server that its manager restarts, say) changes no condition; how long
  clients waited for it is their gap.
- **Measured**: the day, and the commits of the repeats. A row stands until it is run with other images.

{machine}
A read through the API that a cache answers with an older value is *stale* and fails its row; it is no lost write.
"""
COLUMNS = (
    *("fault", "who", "operator", "service", "write gap, held", "reconnecting", "read gap"),
    *("user", "isolated", "lost", "whole", "aim", "n", "measured"),
)


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """One line per fault and service that it touches, both kinds of client side by side."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    pairs: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
    for name, row in zip(names, rows, strict=True):
        pairs[name, row["service"]][row["client"]] = row
    for (name, service), clients in pairs.items():
        if service in touched(name) or not all(row["passed"] for row in clients.values()):
            lines.append(line_of(clients))
    return "\n".join(lines)


def touched(name: str) -> Sequence[str]:
    """The services that a scenario is about."""
    scenario = SCENARIOS.get(name)
    if scenario is None or scenario.hold_seconds >= 45 or "node" in name:
        return SERVICES
    return [service for service in SERVICES if service == scenario.service or service in scenario.aims]


def line_of(clients: dict[str, Row]) -> str:
    """One line of the table."""
    held, other = clients["held"], clients["reconnecting"]
    verdict = "" if held["passed"] and other["passed"] else " **missed**"
    cells = (
        held["fault"],
        held["role"],
        held["operator"],
        held["service"],
        spread(held, "write_gap_s"),
        spread(other, "write_gap_s"),
        spread(held, "read_gap_s"),
        f"{held['failed_requests']} / {held['slow_requests']}",
        "-" if held["isolated_ack_s"] is None else spread(held, "isolated_ack_s"),
        str(held["lost_acked"] + other["lost_acked"]),
        spread(held, "recovered_s"),
        f"{held['aim']['write_gap_s']:g} s{verdict}",
        str(len(held["repeats"])),
        measured(held),
    )
    return "| " + " | ".join(cells) + " |"


def measured(row: Row) -> str:
    """The day of the last repeat, and the commits of all: 11-30, 9e62ff9."""
    commits = dict.fromkeys(re.sub("^([0-9a-f]{7})[0-9a-f]*", r"\1", repeat["commit"]) for repeat in row["repeats"])
    return ", ".join([max(repeat["date"] for repeat in row["repeats"])[5:10], *filter(None, commits)])


def spread(row: Row, key: str) -> str:
    """Median, and the worst where it differs: 2.1 (3.4) s."""
    taken = [repeat[key] for repeat in row["repeats"]]
    if all(figure is None for figure in taken):
        return "-"
    if None in taken:  # the stack did not come back, or nobody was served any more
        return "never" if row[key] is None else f"{row[key]:.1f} (never) s"
    worst = max(taken)
    tail = f" ({worst:.1f})" if worst - row[key] >= 0.1 else ""
    return f"{row[key]:.1f}{tail} s"


def summary(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """What was missed, in words."""
    failed = [(name, row) for name, row in zip(names, rows, strict=True) if not row["passed"]]
    durable = sum(row["lost_acked"] for row in rows if row["service"] != "redis")
    runs = sum(len(row["repeats"]) for row in rows if row["client"] == "held" and row["service"] == "postgres")
    keys = sum(row["lost_acked"] for row in rows if row["service"] == "redis")
    lost = (
        f"Lost of acknowledged PostgreSQL writes, confirmed messages, accepted rows: {durable}; of Redis' keys: {keys}."
    )
    again = [count for row in rows if (count := worst_of(row, "redelivered")) is not None]
    told = (
        f" Messages that the broker delivered again, and said so: {max(again):.0f} in the worst run." if again else ""
    )
    lines = [
        f"{runs} runs. {lost}{told}",
        "",
        f"Rows that missed their aim: {len(failed)} of {len(rows)}.",
    ]
    for name, row in failed:
        lines.append(f"- {name}, {row['service']}, {row['client']}: {why(row)}")
    return lines


def missed(row: Row) -> dict[str, str]:
    """Which limits a row is beyond, each with its figure in words."""
    figures = {key: row[key] for key in (*TIMES, "failed_requests")}
    if (reads := worst_of(row, "failed_reads")) is not None:  # told apart in newer repeats alone
        figures["failed_reads"] = reads
    limits = {key: limit for key, limit in row["aim"].items() if key in figures}
    return {key: f"{key} {figures[key]} > {limit:g}" for key, limit in limits.items() if rank(figures[key]) > limit}


def why(row: Row) -> str:
    """Which limit a row missed."""
    broken = [text for repeat in row["repeats"] for text in repeat["other_findings"]][:3]
    counts = [f"{row[key]} {key}" for key in ("lost_acked", "duplicated") if row[key]]
    return "; ".join([*missed(row).values(), *counts, *broken]) or "a repeat ended badly"
