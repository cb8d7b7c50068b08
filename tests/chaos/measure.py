"""From a run's history to its figures, service by service and kind of client by kind. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos import gaps, reigns
from tests.chaos.checks import Fault, Finding, check, redelivered
from tests.chaos.gaps import Window
from tests.chaos.history import READS, Action, Operation, of_clients
from tests.chaos.reigns import ISOLATED, LAG_SECONDS, Blow, Judgement
from tests.chaos.scenarios import SERVICES, UNTOUCHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.chaos.scenarios import Scenario
    from tests.chaos.watch import Change

PREFIX = {"postgres": "sql", "redis": "redis", "rabbitmq": "rabbitmq", "api": "api"}
CLIENTS = ("held", "reconnecting")
API_WRITERS = {"held": "api-writer", "reconnecting": "api-reconnecting-writer"}  # its other clients are named by kind
# A cut-off primary may show what was true before the cut until it demotes itself (docs/early-failover.md).
POSTGRES_STALE_SECONDS = 8.0
OLD_INSIDE = "the cut-off side showed old rows"
BIN_SECONDS = 0.5

Row = dict[str, Any]


@dataclass(frozen=True)
class Marks:
    """When things happened, by the clients' clock."""

    told: float  # the fault was ordered: gaps are looked for from here
    struck: float  # the fault is in force: who is isolated is isolated from here
    mended: float | None
    ended: float  # the stack is whole again and everybody is served
    returned: float | None = (
        None  # an operator that was absent is told to come back: how long it was away is our choice
    )

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
        "recovered_s": None if trouble else recovered(changes, marks, is_watched=scenario.operator == "alive"),
        "conditions": conditions(changes, marks),
    }
    rows = []
    for service in SERVICES:
        ours = of_clients(history, PREFIX[service])
        judged = judge_redis(scenario, ours, final, marks) if service == "redis" and final else None
        findings = [finding for finding in broken(ours, final) if judged is None or finding.fault is not Fault.STALE]
        is_cut = service in scenario.isolated
        isolated = isolation(ours, marks) if is_cut else None
        stale = reigns.stale_inside_seconds(ours, marks.struck, until_mended(marks)) if is_cut else None
        for client in CLIENTS:
            mine = [finding for finding in findings if belongs(finding, client)]
            whole = judged if client == "held" else None  # of both kinds of client together
            aim = aim_of(scenario, service, client)
            told = [
                *in_words(mine),
                *unkept(whole, service, stale if client == "held" else None),
                *(reigns.beside_in_words(ours)[:20] if (service, client) == ("postgres", "held") else []),
                *beyond_the_cut(isolated, aim.get("isolated_ack_s")),
            ]
            figures = {
                **shared,
                "service": service,
                "client": client,
                "write_gap_s": gaps.write_gap(writers(ours, service, client), marks.window),
                "read_gap_s": gaps.read_gap(readers(ours, service, client), marks.window),
                "failed_reads": failed_reads(ours, client, marks) if service == "api" else None,
                **(retrying(ours, marks) if (service, client) == ("api", "reconnecting") else {}),
                "redelivered": redelivered(ours) if (service, client) == ("rabbitmq", "held") else None,
                "lost_acked": size(mine, Fault.LOST),
                "duplicated": size(mine, Fault.DUPLICATED),
                "isolated_ack_s": isolated if client == "held" else None,
                "isolated_stale_s": stale if client == "held" else None,
                "masters": whole.figures() if whole else None,
                "other_findings": [*([trouble] if trouble else []), *told],
                "aim": aim,
            }
            kept = not trouble and not told and all(is_excused(each, scenario, service, ours, marks) for each in mine)
            rows.append({**figures, "promises_kept": kept, "passed": kept and is_within(figures)})
    return rows


def broken(history: Sequence[Operation], final: Sequence[Operation]) -> list[Finding]:
    """What the checks find. A client on the cut-off side may be shown what is old: for how long is a figure."""
    seen = [o for o in history if not (ISOLATED in o.client and o.action is Action.READ_LIST)]
    return check([*seen, *final], final) if final else []


def judge_redis(
    scenario: Scenario, history: Sequence[Operation], final: Sequence[Operation], marks: Marks
) -> Judgement:
    """Who took which writes."""
    return reigns.judge(history, final, blow_of(scenario, "redis", marks))


def blow_of(scenario: Scenario, service: str, marks: Marks) -> Blow:
    return Blow(marks.told, marks.struck, may_lose(scenario, service))


def unkept(judged: Judgement | None, service: str, stale_inside_seconds: float | None) -> list[str]:
    """What the masters did that nothing excuses, and how long a cut-off primary went on showing what was old."""
    told = list(judged.unexplained[:20]) if judged else []
    if service == "postgres" and stale_inside_seconds is not None and stale_inside_seconds > POSTGRES_STALE_SECONDS:
        told.append(f"{OLD_INSIDE} for {stale_inside_seconds} s")
    return told


def beyond_the_cut(isolated_seconds: float | None, limit_seconds: float | None) -> list[str]:
    """What the cut-off side acknowledged too long: a promise of each repeat, which no median hides."""
    if limit_seconds is None:
        return []
    if isolated_seconds is None:
        return ["nobody asked the cut-off side"]
    return [f"the cut-off side acknowledged for {isolated_seconds:.1f} s"] if isolated_seconds > limit_seconds else []


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
    return of_clients(history, API_WRITERS[client] if service == "api" else f"{PREFIX[service]}-{client}")


def readers(history: Iterable[Operation], service: str, client: str) -> list[Operation]:
    """The reading clients of a row. From PostgreSQL: of a replica."""
    if service == "api":
        return [o for o in of_clients(history, f"api-{client}") if o.action in READS]
    reads = of_clients(history, f"{PREFIX[service]}-reader")
    return [o for o in reads if o.action is not Action.READ_LIST]


def failed_reads(history: Iterable[Operation], client: str, marks: Marks) -> int:
    """The reads of users (GET) of a row that were under way in the fault and not answered."""
    return gaps.failed(readers(history, "api", client), marks.window)


def retrying(history: Iterable[Operation], marks: Marks) -> Row:
    """What a reader of the API meets that tries again over new connections, as docs/api.md tells clients to."""
    return {
        "retrying_read_gap_s": gaps.read_gap(readers(history, "api", "retrying"), marks.window),
        "retrying_failed_reads": failed_reads(history, "retrying", marks),
    }


def belongs(finding: Finding, client: str) -> bool:
    """Whose promise was broken: clients on the cut-off side hold their connections, and so does who sends feeds."""
    return ("-reconnecting" in finding.key) is (client == "reconnecting")


def isolation(history: Sequence[Operation], marks: Marks) -> float | None:
    """How long the cut-off side went on acknowledging."""
    inside = [operation for operation in history if ISOLATED in operation.client]
    return gaps.isolated_acknowledgement(inside, Window(marks.struck, until_mended(marks)))


def until_mended(marks: Marks) -> float:
    return marks.ended if marks.mended is None else marks.mended


def aim_of(scenario: Scenario, service: str, client: str) -> dict[str, float]:
    """What a row is held to: figures that must be there, and within these limits."""
    aim = {"write_gap_s": scenario.aim(service)}
    # Consumers and readers wait no longer than writers may; users read what the fault leaves alone.
    aim["read_gap_s"] = UNTOUCHED if service == "api" else scenario.aim(service)
    if service == "api" and not scenario.is_of_two:
        aim["failed_reads"] = 0.0
        if client == "reconnecting":
            aim["retrying_failed_reads"] = 0.0
    if service == "api" and scenario.zero_failed:
        aim["failed_requests"] = 0.0
    if client == "held" and service in scenario.isolated:
        aim["isolated_ack_s"] = LAG_SECONDS if service == "redis" else 0.0
    if may_lose(scenario, service):
        return {**aim, "lost_acked_within_s": LAG_SECONDS}
    return {**aim, "lost_acked": 0.0}


def is_within(row: Row) -> bool:
    """Whether a row keeps its aim; a figure that could not be taken fails it."""
    limits = {key: limit for key, limit in row["aim"].items() if key in row}
    return all(row[key] is not None and row[key] <= limit for key, limit in limits.items())


def may_lose(scenario: Scenario, service: str) -> bool:
    """Replication of Redis is asynchronous: a master that fails may take along what was on its way; no planned one."""
    return service == "redis" and service in scenario.aims and not scenario.is_planned


def is_excused(finding: Finding, scenario: Scenario, service: str, history: Sequence[Operation], marks: Marks) -> bool:
    """Whether Redis may have lost this: by the master of the fault, just before it or within its lag after it."""
    if finding.fault is not Fault.LOST or not may_lose(scenario, service):
        return False
    writes = [o for o in history if o.action is Action.APPEND and (o.key, o.value) == (finding.key, finding.value)]
    led = reigns.reigns_of(o for o in history if o.action is Action.APPEND and o.is_acknowledged)
    return all(reigns.reason_of_loss(write, led, blow_of(scenario, service, marks)) for write in writes)


def recovered(changes: Sequence[Change], marks: Marks, *, is_watched: bool = True) -> float | None:
    """Seconds until the stack called itself highly available again, for good. 0: it never called itself otherwise.

    None: not yet, or nobody was there who would have called it otherwise. Counted from the mending where it came after
    that (a node's volumes wait for the node), and from the return of an operator that was absent (nobody else says so).
    """
    seen = [each for each in changes if each.kind == "HighlyAvailable" and marks.told < each.at <= marks.ended]
    if not seen:
        return 0.0 if is_watched else None
    if seen[-1].status != "True":
        return None
    starts = (marks.told, marks.mended, marks.returned)
    return round(seen[-1].at - max(each for each in starts if each is not None and each < seen[-1].at), 1)


def conditions(changes: Sequence[Change], marks: Marks) -> list[list[Any]]:
    """What `kubectl get appstack` said meanwhile: [seconds, type, status, reason]; at first how it was before."""
    before: dict[str, Change] = {}
    for change in changes:
        if change.at <= marks.told and change.reason != "role":
            before[change.kind] = change
    after = [change for change in changes if change.at > marks.told and change.reason != "role"]
    return [[round(max(c.at - marks.told, 0.0), 1), c.kind, c.status, c.reason] for c in [*before.values(), *after]]


def role_changes(changes: Sequence[Change], marks: Marks) -> list[list[Any]]:
    """Who came to lead: [seconds, primary, master or leader (of the queue), pod]."""
    moved = [change for change in changes if change.reason == "role" and change.at > marks.told]
    return [[round(change.at - marks.told, 1), change.kind, change.status] for change in moved]


def timelines(history: Sequence[Operation], marks: Marks) -> dict[str, list[list[float]]]:
    """Service -> [seconds, successes a second, failures a second], for the plots."""
    end = min(marks.ended - marks.told, 120.0)
    found = {}
    for service, prefix in PREFIX.items():
        of_service = [o for o in of_clients(history, prefix) if ISOLATED not in o.client]
        bins = gaps.timeline(of_service, marks.told, -5.0, end, BIN_SECONDS)
        found[service] = [[each.at, each.succeeded, each.failed] for each in bins]
    return found
