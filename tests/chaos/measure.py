"""From a run's history to its figures, service by service and kind of client by kind. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos import gaps
from tests.chaos.checks import Fault, Finding, check
from tests.chaos.gaps import Window
from tests.chaos.history import Action, Operation, of_clients
from tests.chaos.scenarios import SERVICES, UNTOUCHED
from tests.chaos.watch import LOOK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.chaos.scenarios import Scenario
    from tests.chaos.watch import Change

PREFIX = {"postgres": "sql", "redis": "redis", "rabbitmq": "rabbitmq", "api": "api"}
CLIENTS = ("held", "reconnecting")
# How long an isolated Redis master may acknowledge: min-replicas-max-lag (2) in whole seconds, which end up to one
# later, and the second between two looks at it.
REDIS_LAG_SECONDS = 4.0
# What Redis had acknowledged before the fault had this long to reach a replica, while nothing was broken.
IN_FLIGHT_SECONDS = 1.0
BIN_SECONDS = 0.5
BLIND_SECONDS = 2.0  # more than a look or two that found no answer

Row = dict[str, Any]


@dataclass(frozen=True)
class Marks:
    """When things happened, by the clients' clock."""

    told: float  # the fault was ordered: gaps are looked for from here
    struck: float  # the fault is in force: who is isolated is isolated from here
    mended: float | None
    ended: float  # the stack is whole again and everybody is served

    @property
    def window(self) -> Window:
        return Window(self.told, self.ended)


def rows_of(
    scenario: Scenario,
    history: Sequence[Operation],
    final: Sequence[Operation],
    changes: Sequence[Change],
    marks: Marks,
    trouble: str = "",
) -> list[Row]:
    """The figures of one run; `trouble` says how it ended badly, and fails every row.

    Without `final` (nobody could be read in the end) nothing can be told to be lost, and nothing passes.
    """
    shared = {
        "fault": scenario.fault,
        "role": scenario.role,
        "operator": scenario.operator,
        "failed_requests": gaps.failed(of_clients(history, "api"), marks.window),
        "slow_requests": gaps.slow(users_requests(history), marks.window),
        "recovered_s": None if trouble else recovered(changes, marks),
        "conditions": conditions(changes, marks),
    }
    rows = []
    for service in SERVICES:
        ours = of_clients(history, PREFIX[service])
        findings = check([*ours, *final], final) if final else []
        isolated = isolation(ours, marks) if service in scenario.isolated else None
        for client in CLIENTS:
            mine = [finding for finding in findings if belongs(finding, service, client)]
            figures = {
                **shared,
                "service": service,
                "client": client,
                "write_gap_s": gaps.write_gap(writers(ours, service, client), marks.window),
                "read_gap_s": gaps.read_gap(readers(ours, service, client), marks.window),
                "lost_acked": size(mine, Fault.LOST),
                "duplicated": size(mine, Fault.DUPLICATED),
                "isolated_ack_s": isolated if client == "held" else None,
                "other_findings": [*([trouble] if trouble else []), *in_words(mine)],
                "aim": aim_of(scenario, service, client),
            }
            kept = not trouble and all(is_excused(finding, scenario, service, ours, marks) for finding in mine)
            rows.append({**figures, "promises_kept": kept, "passed": kept and is_within(figures)})
    return rows


def in_words(findings: Iterable[Finding]) -> list[str]:
    """The first of those that are not merely counted."""
    return [f"{f.fault} {f.key} {f.value} {f.detail}" for f in findings if f.fault not in COUNTED][:20]


COUNTED = (Fault.LOST, Fault.DUPLICATED)


def size(findings: Iterable[Finding], fault: Fault) -> int:
    """How many operations of a kind went wrong; a finding about a feed counts its rows."""
    return sum(f.value if f.key.startswith("api-import") else 1 for f in findings if f.fault is fault)


def users_requests(history: Iterable[Operation]) -> list[Operation]:
    """What users wait for; a feed takes its time by its size, and its end is nobody's request."""
    return [o for o in of_clients(history, "api") if o.action not in (Action.IMPORT, Action.IMPORTED)]


def writers(history: Iterable[Operation], service: str, client: str) -> list[Operation]:
    """The writing clients of a row. Feeds are too far apart to tell a gap by."""
    name = {"held": "api-writer", "reconnecting": "none"}[client] if service == "api" else f"{PREFIX[service]}-{client}"
    return of_clients(history, name)


def readers(history: Iterable[Operation], service: str, client: str) -> list[Operation]:
    """The reading clients of a row. From PostgreSQL: of a replica."""
    if service == "api":
        return of_clients(history, f"api-{client}")
    reads = of_clients(history, f"{PREFIX[service]}-reader")
    return [o for o in reads if o.action is not Action.READ_LIST]


def belongs(finding: Finding, service: str, client: str) -> bool:
    """Whose promise was broken: clients on the cut-off side hold their connections; the API's writers too."""
    if client == "reconnecting":
        return "-reconnecting" in finding.key
    return service == "api" or "-reconnecting" not in finding.key


def isolation(history: Sequence[Operation], marks: Marks) -> float | None:
    """How long the cut-off side went on acknowledging."""
    until = marks.ended if marks.mended is None else marks.mended
    inside = [operation for operation in history if "-isolated" in operation.client]
    return gaps.isolated_acknowledgement(inside, Window(marks.struck, until))


def aim_of(scenario: Scenario, service: str, client: str) -> dict[str, float]:
    """What a row is held to: figures that must be there, and within these limits."""
    aim = {}
    if (service, client) != ("api", "reconnecting"):  # those only read
        aim["write_gap_s"] = scenario.aim(service)
    # Consumers and readers wait no longer than writers may; users read what the fault leaves alone.
    aim["read_gap_s"] = UNTOUCHED if service == "api" else scenario.aim(service)
    if service == "api" and scenario.zero_failed:
        aim["failed_requests"] = 0.0
    if client == "held" and service in scenario.isolated:
        aim["isolated_ack_s"] = REDIS_LAG_SECONDS if service == "redis" else 0.0
    if may_lose(scenario, service):
        return {**aim, "lost_acked_within_s": REDIS_LAG_SECONDS}
    return {**aim, "lost_acked": 0.0}


def is_within(row: Row) -> bool:
    """Whether a row keeps its aim; a figure that could not be taken fails it."""
    limits = {key: limit for key, limit in row["aim"].items() if key in row}
    return all(row[key] is not None and row[key] <= limit for key, limit in limits.items())


def may_lose(scenario: Scenario, service: str) -> bool:
    """Replication of Redis is asynchronous: a master that fails may take along what was on its way; no planned one."""
    return service == "redis" and service in scenario.aims and not scenario.is_planned


def is_excused(finding: Finding, scenario: Scenario, service: str, history: Sequence[Operation], marks: Marks) -> bool:
    """Whether Redis may have lost this: acknowledged just before the fault, or within its lag after it."""
    if finding.fault is not Fault.LOST or not may_lose(scenario, service):
        return False
    ends = [o.end for o in history if o.action is Action.APPEND and (o.key, o.value) == (finding.key, finding.value)]
    return all(marks.told - IN_FLIGHT_SECONDS < end < marks.struck + REDIS_LAG_SECONDS for end in ends)


def recovered(changes: Sequence[Change], marks: Marks) -> float | None:
    """Seconds until the stack called itself highly available again, for good. 0: it never called itself otherwise.

    None: not yet, or nobody could look for a while, and who looked saw no change.
    Counted from the mending where it came after that: a node's volumes wait for the node.
    """
    seen = [change for change in changes if change.kind == "HighlyAvailable" and change.at > marks.told]
    if not seen:
        return None if blind_seconds(changes, marks) > BLIND_SECONDS else 0.0
    if seen[-1].status != "True":
        return None
    since = marks.mended if marks.mended is not None and marks.mended < seen[-1].at else marks.told
    return round(seen[-1].at - since, 1)


def blind_seconds(changes: Sequence[Change], marks: Marks) -> float:
    """For how long of the run nobody could look, because the API server did not answer."""
    total, since = 0.0, None
    for change in (change for change in changes if change.reason == LOOK):
        if change.status == "False":
            since = change.at
        elif since is not None:
            total += max(change.at - max(since, marks.told), 0.0)
            since = None
    return total if since is None else total + max(marks.ended - max(since, marks.told), 0.0)


def conditions(changes: Sequence[Change], marks: Marks) -> list[list[Any]]:
    """What `kubectl get appstack` said meanwhile: [seconds, type, status, reason]; at first how it was before."""
    before: dict[str, Change] = {}
    for change in changes:
        if change.at <= marks.told and change.reason not in ("role", LOOK):
            before[change.kind] = change
    after = [change for change in changes if change.at > marks.told and change.reason not in ("role", LOOK)]
    return [[round(max(c.at - marks.told, 0.0), 1), c.kind, c.status, c.reason] for c in [*before.values(), *after]]


def role_changes(changes: Sequence[Change], marks: Marks) -> list[list[Any]]:
    """Who came to lead: [seconds, primary or master, pod]."""
    moved = [change for change in changes if change.reason == "role" and change.at > marks.told]
    return [[round(change.at - marks.told, 1), change.kind, change.status] for change in moved]


def timelines(history: Sequence[Operation], marks: Marks) -> dict[str, list[list[float]]]:
    """Service -> [seconds, successes a second, failures a second], for the plots."""
    end = min(marks.ended - marks.told, 120.0)
    found = {}
    for service, prefix in PREFIX.items():
        of_service = [o for o in of_clients(history, prefix) if "-isolated" not in o.client]
        bins = gaps.timeline(of_service, marks.told, -5.0, end, BIN_SECONDS)
        found[service] = [[each.at, each.succeeded, each.failed] for each in bins]
    return found
