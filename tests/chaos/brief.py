"""The scorecard as a person reads it in a minute: each kind of fault against its aim and against others. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.judgements import worst_of
from tests.chaos.page import spread
from tests.chaos.scenarios import OPERATORS, SCENARIOS, SERVICES
from tests.chaos.scorecard import rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.scenarios import Scenario
    from tests.chaos.scorecard import Row

NOTES = "## What is missed, and why"
TIMELINES = "## Timelines"
NAMES = {"postgres": "PostgreSQL", "redis": "Redis", "rabbitmq": "RabbitMQ", "api": "API"}


class Floor(NamedTuple):
    """What was measured of a fault elsewhere: single-row writes by one client, n mostly 1, nodes as those here."""

    scenario: str
    service: str
    best: str  # seconds without a write, of the best set-up known
    others: str = ""


CLOUDNATIVEPG = "CloudNativePG 1.30"
FLOORS = (
    Floor("postgres-primary-deleted", "postgres", "2.4, bare Patroni", f"{CLOUDNATIVEPG}: 191 beside a held client"),
    Floor("postgres-primary-sigkill", "postgres", "3.9, bare Patroni", f"{CLOUDNATIVEPG}: 7.5"),
    Floor("postgres-primary-no-grace", "postgres", "1.7 to 2.3, bare Patroni", f"{CLOUDNATIVEPG}: 18 to 20"),
    Floor(
        "node-cut",
        "postgres",
        "6.2, bare Patroni with its lock released by hand; else 22 to 23",
        f"{CLOUDNATIVEPG}: 51 to over 100, 22 and more acknowledged inside the cut, 364 and 4,701 lost; tuned: 46, 0",
    ),
    Floor("redis-master-deleted", "redis", "0.7 to 1.1, once 4.0", "Sentinels with host names: 17"),
    Floor("redis-master-no-grace", "redis", "1.1 to 1.4", "Sentinels with host names: 17"),
    Floor("node-cut-two", "redis", "5.1", "Sentinels with host names: 7, and 41 with the name server"),
    Floor("rabbitmq-leader-deleted", "rabbitmq", "0.3 to 0.5"),
    Floor("rabbitmq-leader-no-grace", "rabbitmq", "0.3 to 0.5"),
    Floor("node-cut", "rabbitmq", "9.9, publisher on the lost node", "net tick time of 60 s: 67"),
)

HEAD = """# Chaos scorecard
Written by `make chaos` ([how](../tests/chaos/)). Every row, what its words mean, and what `kubectl get appstack` said
meanwhile: [scorecard-rows.md](scorecard-rows.md); every repeat: [scorecard.json](scorecard.json).
{machine}
"""
KINDS_HEAD = """## Seconds without an acknowledged write
Of each kind of fault the worst one: the median of its repeats, by clients that hold their connection or reconnect,
whichever waited for longer (in brackets the aim; **bold** where it is missed). *Reads* are the API's, *failed* its
requests in the worst repeat. *Tried again*: the reads of a client that hangs up and tries anew, as
[api.md](api.md#when-a-node-is-lost) tells clients to: the worst of all repeats (-: nobody did so then).
*Rows*: how many of the kind keep every aim that they have, of how many.
"""
FLOORS_HEAD = """## Beside what was measured elsewhere
Median (worst) here. The others were measured before this project began, on a prototype of its lab (three nodes, two
processors, etcd without fsync, single-row writes by one client, n mostly 1), and not again: a second says little.
"""


def brief(rows: Sequence[Row], names: Sequence[str], machine: str, notes: str = "") -> str:
    """docs/scorecard.md: `names` are the scenarios of the rows, in the same order; `notes` are kept as they are."""
    lines = [HEAD.format(machine=machine), verdict(rows), "", KINDS_HEAD, *kinds(rows, names), ""]
    if floors := floor_lines(rows, names):
        lines += [FLOORS_HEAD, *floors, ""]
    if notes:
        lines += [NOTES, notes, ""]
    links = [f"[{name}](scorecard/{name}.svg)" for name in dict.fromkeys(names)]
    return "\n".join([*lines, TIMELINES, *(f"{link}," for link in links[:-1]), *links[-1:]]) + "\n"


def notes_of(page_before: str) -> str:
    """What people have written on the page."""
    _, found, rest = page_before.partition(f"\n{NOTES}\n")
    return rest.partition(f"\n{TIMELINES}")[0].strip() if found else ""


def verdict(rows: Sequence[Row]) -> str:
    """What was lost and how many rows miss an aim."""
    durable = [row for row in rows if row["service"] != "redis"]
    redis = [row for row in rows if row["service"] == "redis"]
    runs = sum(len(row["repeats"]) for row in rows if row["client"] == "held" and row["service"] == "postgres")
    isolated = max((found for row in durable if (found := worst_of(row, "isolated_ack_s")) is not None), default=None)
    told = "" if isolated is None else f"; a cut-off PostgreSQL or RabbitMQ acknowledged for {isolated:.1f} s at most"
    kept = sum(row["passed"] for row in rows)
    again = [count for row in rows if (count := worst_of(row, "redelivered")) is not None]
    redelivered = (
        f" Messages that the broker delivered again, and said so: {max(again):.0f} in the worst run." if again else ""
    )
    return (
        f"**{runs} runs: {in_all(durable, 'lost_acked')} acknowledged PostgreSQL writes, confirmed messages and "
        f"accepted rows lost, {in_all(durable, 'duplicated')} done twice{told}.** "
        f"Redis, whose replication is asynchronous, lost {in_all(redis, 'lost_acked')} keys "
        f"([within what bound](scorecard-rows.md)).{redelivered} {kept} of {len(rows)} rows keep their aim."
    )


def in_all(rows: Sequence[Row], count: str) -> int:
    """Of all repeats together; a row itself tells of the worst one."""
    return sum(repeat[count] for row in rows for repeat in row["repeats"])


def kinds(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """One line for each kind of fault."""
    found: dict[str, list[tuple[Scenario, Row]]] = defaultdict(list)
    for name, row in zip(names, rows, strict=True):
        if name in SCENARIOS:
            found[kind_of(SCENARIOS[name])].append((SCENARIOS[name], row))
    head = ("fault", *(NAMES[service] for service in SERVICES), "reads", "failed", "tried again", "rows", "n")
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for kind in KINDS:
        if members := found[kind]:
            own = [row for _, row in members]
            reads = cell([row for row in own if row["service"] == "api"], "read_gap_s")
            counts = sorted({len(row["repeats"]) for row in own})
            cells = (
                kind,
                *(cell([row for each, row in members if row["service"] == service and
                        (service in each.aims or is_missed(row, "write_gap_s"))], "write_gap_s")
                  for service in SERVICES),
                reads,
                str(max(row["failed_requests"] for row in own)),
                tried_again(own),
                f"{sum(row['passed'] for row in own)} of {len(own)}",
                "-".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))),
            )  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def tried_again(rows: Sequence[Row]) -> str:
    """The longest read gap of clients that try again, and their failed reads: 1.2 s, 0 failed."""
    gaps = [gap for row in rows if (gap := worst_of(row, "retrying_read_gap_s")) is not None]
    failed = [count for row in rows if (count := worst_of(row, "retrying_failed_reads")) is not None]
    return f"{max(gaps):.1f} s, {max(failed):.0f} failed" if gaps and failed else "-"


def is_missed(row: Row, figure: str) -> bool:
    """Whether an aim is missed: what a fault should leave alone is shown where it did not."""
    return figure in row["aim"] and rank(row[figure]) > row["aim"][figure]


def cell(rows: Sequence[Row], figure: str) -> str:
    """The worst median of these rows and its aim, bold where it is missed: **8.2** (8)."""
    taken = [row for row in rows if figure in row["aim"]]
    if not taken:
        return "-"
    # Who is furthest beyond its own aim.
    worst = max(taken, key=lambda row: (rank(row[figure]) / row["aim"][figure], rank(row[figure])))
    gap, aim = worst[figure], worst["aim"][figure]
    words = "never" if gap is None else f"{gap:.1f}"
    return f"**{words}** ({aim:g})" if is_missed(worst, figure) else f"{words} ({aim:g})"


PLANNED, DRAINED = "planned: a pod deleted, another image, other resources", "planned: nodes drained"
KILLED, FROZEN = "a server killed, a pod deleted with no grace", "a pod or its server frozen for 30 s"
LOST = "a node cut off (one way, both) or crashed"
TWO = "the node of both leaders, of PostgreSQL and of Redis"
MORE = "a node cut off under ten times the load, or with two standbys"
CLUSTER, DISK = "API server or name servers away", "the disk full"
PLACES = {operator: "" if operator == "alive" else f", operator {operator}" for operator in OPERATORS.values()}
KINDS = (
    *(PLANNED, DRAINED, KILLED, FROZEN),
    *(f"{kind}{place}" for kind in (LOST, TWO) for place in PLACES.values()),
    *(MORE, CLUSTER, DISK),
)


def kind_of(scenario: Scenario) -> str:
    """What sort of fault it is."""
    if scenario.tenfold or (scenario.spec and scenario.is_of_node):
        return MORE
    if scenario.is_planned:
        return DRAINED if scenario.is_of_node else PLANNED
    if scenario.is_of_node:
        return f"{TWO if scenario.together else LOST}{PLACES[scenario.operator]}"
    if scenario.needs_limited_volumes:
        return DISK
    if scenario.name.endswith(("-sigkill", "-no-grace")):
        return KILLED
    return FROZEN if scenario.name.endswith(("-frozen", "-frozen-server")) else CLUSTER


def floor_lines(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """One line for each fault that somebody has measured before."""
    found = {(name, row["service"], row["client"]): row for name, row in zip(names, rows, strict=True)}
    lines = []
    for each in FLOORS:
        held, other = (found.get((each.scenario, each.service, client)) for client in ("held", "reconnecting"))
        if held and other:
            here = f"{spread(held, 'write_gap_s')} | {spread(other, 'write_gap_s')}"
            about = f"[{each.scenario}](scorecard/{each.scenario}.svg), {NAMES[each.service]}"
            lines.append(f"| {about} | {here} | {each.best} | {each.others} |")
    head = ["| fault | here, held | reconnecting | best known, s | others, s |", "| --- | --- | --- | --- | --- |"]
    return [*head, *lines] if lines else []
