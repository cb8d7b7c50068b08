"""The scorecard as a page for people. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.chaos.comparing import why
from tests.chaos.judgements import judgements
from tests.chaos.scenarios import SCENARIOS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.scorecard import Row


def page(rows: Sequence[Row], names: Sequence[str], machine: str) -> str:
    """docs/scorecard-rows.md: `names` are the scenarios of the rows, in the same order."""
    lines = [HEAD.format(machine=machine), table(rows, names), "", *misses(rows, names), ""]
    lines += judgements(rows, names)
    lines.append("## Fault by fault\n`kubectl get appstack` is quoted of the median repeat, seconds after the fault.")
    for name, row in zip(names, rows, strict=True):
        if (row["service"], row["client"]) == (SERVICES[0], "held"):
            lines += ["", f"### {name}", said(row), f"![timeline of {name}](scorecard/{name}.svg)"]
    return "\n".join(lines) + "\n"


def said(row: Row) -> str:
    """What the columns Ready and HA of `kubectl get appstack` were, and when they changed."""
    changes: dict[str, list[str]] = {"Ready": [], "HighlyAvailable": []}
    for seconds, kind, status, reason in row["conditions"]:
        if kind in changes:
            why = "" if status == "True" else f" {reason}"
            changes[kind].append(f"{status}{why}" if seconds == 0 else f"{seconds:g} s {status}{why}")
    return "; ".join(f"{kind}: {', '.join(told)}" for kind, told in changes.items() if told) + ".\n"


HEAD = """# Chaos scorecard, row by row
The [scorecard](scorecard.md) in full, written by `make chaos` ([how](../tests/chaos/)); every figure and every repeat
is in [scorecard.json](scorecard.json).
Clients write single rows, keys, messages and products 5 to 10 times a second each, from a node that is not the
victim's, over connections that they *hold*, or *reconnecting* for every operation.

- **Operator**: of a lost node *alive* means that the one that leads is on another node (in rows until 59fa782 it was
  luck); *on the lost node*: it is there, and another one waits elsewhere (until then: all of them were there).
  Where it was, the API's pods and every leader, each newer repeat says (`where`).
- **Gap**: the longest time between two acknowledged writes (reads) around the fault: median, and the worst in brackets.
- **User**: API requests that failed / took over 1 s, in the worst repeat. A read that failed fails its row, unless two
  leaders are lost at once (rows until 59fa782 did not tell reads from writes, and did not fail); so does one of a
  client that tries again, as [api.md](api.md#when-a-node-is-lost) tells clients to (newer rows tell).
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
    taken = [repeat[key] for repeat in row["repeats"] if key not in repeat.get("not_asked", ())]
    if all(figure is None for figure in taken):
        return "-"
    if None in taken:  # the stack did not come back, or nobody was served any more
        return "never" if row[key] is None else f"{row[key]:.1f} (never) s"
    worst = max(taken)
    tail = f" ({worst:.1f})" if worst - row[key] >= 0.1 else ""
    return f"{row[key]:.1f}{tail} s"


def misses(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """What was missed, in words."""
    failed = [(name, row) for name, row in zip(names, rows, strict=True) if not row["passed"]]
    lines = [f"Rows that missed their aim: {len(failed)} of {len(rows)}."]
    for name, row in failed:
        lines.append(f"- {name}, {row['service']}, {row['client']}: {why(row)}")
    return lines
