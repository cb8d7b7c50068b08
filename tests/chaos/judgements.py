"""The part of the scorecard that tells what Redis' masters did, and what readers inside a cut were shown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = dict[str, Any]

MASTERS = """## Redis, by its clients' histories
Every answer names its server, so the history tells who took which write. Worst of the repeats, for faults in which a
master was replaced, or something was lost, old, or acknowledged by two:

- **In flight, by lag**: lost of what the master of the fault had acknowledged in the second before it, and in the 4 s
  after it in which `min-replicas-max-lag` lets it. Any other loss is *unexplained*, and fails the row.
- **Two writers**: for how long two masters took writes, and how many the older one acknowledged meanwhile. It fails a
  planned event, and any other one beyond these 4 s.
- **Stale**: reads from outside the cut that lacked what had been acknowledged, and how old that was. Excused at a
  former master alone, for 4 s after its heir's first write.
- **Old inside**: for how long after the cut a reader beside the cut-off server was shown old data. PostgreSQL may for
  8 s ([why](early-failover.md)); of Redis it is only told: nothing stops a lonely master from answering reads.
"""
MASTER_COLUMNS = (
    *("fault", "acknowledged", "lost", "in flight", "by lag", "unexplained"),
    *("two writers", "stale", "old inside: Redis", "PostgreSQL", "n"),
)


def judgements(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """The table of what Redis' masters did; no line for a repeat that was run before there were such figures."""
    lines = []
    inside = {
        (n, row["service"]): worst_of(row, "isolated_stale_s")
        for n, row in zip(names, rows, strict=True)
        if row["client"] == "held"
    }
    for name, row in zip(names, rows, strict=True):
        found = [repeat["masters"] for repeat in row["repeats"] if repeat.get("masters")]
        worst = {key: max(each[key] for each in found) for key in found[0]} if found else {}
        if not found or not any((worst["lost"], worst["beside"], worst["stale_reads"], worst["reigns"] > 1)):
            continue
        cells = (
            name,
            str(min(each["acknowledged"] for each in found)),
            *(str(worst[key]) for key in ("lost", "lost_in_flight", "lost_within_lag", "lost_unexplained")),
            f"{worst['two_writers_s']:.1f} s, {worst['beside']}" if worst["beside"] else "-",
            f"{worst['stale_reads']}, {worst['stale_s']:.1f} s" if worst["stale_reads"] else "-",
            *(in_seconds(inside.get((name, service))) for service in ("redis", "postgres")),
            str(len(found)),
        )
        lines.append("| " + " | ".join(cells) + " |")
    if not lines:
        return []
    head = ["| " + " | ".join(MASTER_COLUMNS) + " |", "| " + " | ".join("---" for _ in MASTER_COLUMNS) + " |"]
    return [MASTERS, *head, *lines, ""]


def worst_of(row: Row, key: str) -> float | None:
    """The worst of the repeats that have the figure."""
    return max((repeat[key] for repeat in row["repeats"] if repeat.get(key) is not None), default=None)


def in_seconds(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f} s"
