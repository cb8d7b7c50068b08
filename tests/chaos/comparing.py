"""Rows against their aims, and one scorecard against another. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.judgements import worst_of
from tests.chaos.scorecard import IDENTITY, NEWER_COUNTS, TIMES, keeps_promises, rank, scenario_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.chaos.scorecard import Row

FACTOR = 2.0  # between the medians of two scorecards, where one reproduces the other
# What is shorter counts as so long: a client's own rhythm, and one start of a pod with two looks of the operator.
GAP_SECONDS, RECOVERY_SECONDS = 1.0, 10.0
REPRODUCED = (
    f"same rows, nothing lost, medians within a factor of {FACTOR:g} (gaps under {GAP_SECONDS:g} s count as that, "
    f"times to whole under {RECOVERY_SECONDS:g} s too)"
)


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
            was_asked = figure in before[key]["aim"] or figure not in row["aim"]
            if was_asked and (one, other) != (None, None):
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


def missed(row: Row) -> dict[str, str]:
    """Which limits a row is beyond, each with its figure in words."""
    figures = {key: row[key] for key in (*TIMES, "failed_requests")}
    newer = {key: worst_of(row, key) for key in NEWER_COUNTS}  # not told by older repeats
    figures |= {key: worst for key, worst in newer.items() if worst is not None}
    limits = {key: limit for key, limit in row["aim"].items() if key in figures}
    return {key: f"{key} {figures[key]} > {limit:g}" for key, limit in limits.items() if rank(figures[key]) > limit}


def why(row: Row) -> str:
    """Which limit a row missed."""
    broken = [text for repeat in row["repeats"] for text in repeat["other_findings"]][:3]
    counts = [f"{row[key]} {key}" for key in ("lost_acked", "duplicated") if row[key]]
    return "; ".join([*missed(row).values(), *counts, *broken]) or "a repeat ended badly"
