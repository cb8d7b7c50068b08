"""Redis, judged by its clients' histories: under whom a write was lost, and whether two masters took writes. Pure.

A reign is one server for as long as it leads without a break: each answer names the server's run, and its replication
id, which a promotion changes. Of PostgreSQL, which may lose nothing, only whether two primaries took writes: by address
and timeline. Sound rather than complete, as the other checks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.checks import by_key, elements
from tests.chaos.history import Action, Operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# How long a master without replicas may acknowledge: min-replicas-max-lag (2) in whole seconds, which end up to one
# later, and the second between two looks at it.
LAG_SECONDS = 4.0
# What had been acknowledged before the fault had this long to reach a replica, while nothing was broken.
IN_FLIGHT_SECONDS = 1.0
REPLICA = "replica"  # in the place of a replication id: who answered did not lead
ISOLATED = "-isolated"  # in the name of a client on the cut-off side


@dataclass(frozen=True, slots=True)
class Blow:
    """When a fault came, by the clients' clock, and whether a master that fails by it may take writes along."""

    told: float
    struck: float
    may_lose: bool


@dataclass(frozen=True, slots=True)
class Reign:
    """What one master acknowledged."""

    server: str  # RUN/REPLICATION ID, or of PostgreSQL ADDRESS/TIMELINE
    since: float  # its first acknowledgement had arrived
    until: float  # its last acknowledged write had begun, and was over at ...
    last: float
    writes: int

    @property
    def run(self) -> str:
        """The process: one of them alone is never two masters at once."""
        return run_of(self.server)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The figures of one run; what nothing excuses is counted for losses, and else stands in words."""

    reigns: int
    acknowledged: int
    lost: int
    lost_in_flight: int  # acknowledged by the master of the fault just before it
    lost_within_lag: int  # acknowledged by the same one afterwards, for as long as min-replicas lets it
    lost_unexplained: int
    beside: int  # writes that a master acknowledged after a later one had acknowledged some
    two_writers_s: float  # for how long at least two took writes
    stale_reads: int  # reads from outside the cut that lacked what had been acknowledged before
    stale_s: float  # how old the oldest of what they lacked was
    unexplained: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """For the scorecard."""
        return {**asdict(self), "unexplained": len(self.unexplained)}


def judge(history: Sequence[Operation], final: Sequence[Operation], blow: Blow) -> Judgement:
    """Judge what the clients of Redis saw; `final` are the reads after the recovery, by which losses are told."""
    kept = {(read.key, value) for read in final for value in elements(read)}
    acknowledged = [o for o in history if o.action is Action.APPEND and o.is_acknowledged]
    lost = [write for write in acknowledged if (write.key, write.value) not in kept]
    reigns = reigns_of(acknowledged)
    reasons = [reason_of_loss(write, reigns, blow) for write in lost]
    beside = written_beside(acknowledged, reigns)
    stale = stale_reads([o for o in history if ISOLATED not in o.client], kept)
    told = [
        f"{write.server} acknowledged {write.key} {write.value} beside its successor, "
        f"{write.start - blow.struck:.1f} s after the fault"
        for write in beside
        if not blow.may_lose or write.end >= blow.struck + LAG_SECONDS
    ]
    told += [
        f"{read.client} read {read.key} from {read.server or 'nobody knows whom'} without {missed.value}, "
        f"{read.start - missed.end:.1f} s old"
        for read, missed in stale
        if not is_before_its_heir(read, missed, reigns)
    ]
    return Judgement(
        reigns=len(reigns),
        acknowledged=len(acknowledged),
        lost=len(lost),
        lost_in_flight=reasons.count("in flight"),
        lost_within_lag=reasons.count("lag"),
        lost_unexplained=reasons.count(""),
        beside=len(beside),
        two_writers_s=round(two_writers_seconds(beside, reigns), 1),
        stale_reads=len(stale),
        stale_s=round(max((read.start - missed.end for read, missed in stale), default=0.0), 1),
        unexplained=tuple(told),
    )


def run_of(server: str) -> str:
    return server.partition("/")[0]


def reigns_of(acknowledged: Iterable[Operation]) -> list[Reign]:
    """Every reign that acknowledged something, by its first acknowledgement. Writes without a server belong to none."""
    of_server: dict[str, list[Operation]] = defaultdict(list)
    for write in acknowledged:
        if write.server:
            of_server[write.server].append(write)
    found = [
        Reign(server, min(w.end for w in ws), max(w.start for w in ws), max(w.end for w in ws), len(ws))
        for server, ws in of_server.items()
    ]
    return sorted(found, key=lambda reign: reign.since)


def reason_of_loss(write: Operation, reigns: Sequence[Reign], blow: Blow) -> str:
    """Why an asynchronous master may have lost a write; empty where nothing excuses it.

    Only whoever led when the fault came, and was replaced, may lose anything: nothing excuses its successor, or a
    master that the fault did not touch.
    """
    leading = [reign for reign in reigns if reign.since <= blow.told]
    fell = leading[-1].server if leading and leading[-1] is not reigns[-1] else ""
    if not blow.may_lose or (write.server and write.server != fell):
        return ""
    if blow.told - IN_FLIGHT_SECONDS < write.end < blow.struck:
        return "in flight"
    return "lag" if blow.struck <= write.end < blow.struck + LAG_SECONDS else ""


def written_beside(acknowledged: Iterable[Operation], reigns: Sequence[Reign]) -> list[Operation]:
    """Acknowledged writes that began after a later reign, of another process, had acknowledged one."""
    first = {reign.server: reign.since for reign in reigns}
    found = [
        write
        for write in acknowledged
        if write.server
        and any(
            reign.run != run_of(write.server) and first[write.server] < reign.since < write.start for reign in reigns
        )
    ]
    return sorted(found, key=lambda write: write.start)


def beside_in_words(history: Iterable[Operation]) -> list[str]:
    """The writes that a primary acknowledged beside its successor: nothing excuses one of PostgreSQL, in a cut or out.

    Nobody may have seen them lost: a client that asks a former primary is told that it has written, and reads it there.
    """
    acknowledged = [o for o in history if o.action is Action.APPEND and o.is_acknowledged]
    return [
        f"{write.server} acknowledged {write.key} {write.value} beside its successor"
        for write in written_beside(acknowledged, reigns_of(acknowledged))
    ]


def two_writers_seconds(beside: Sequence[Operation], reigns: Sequence[Reign]) -> float:
    """For how long at least two masters took writes: each pair from the younger one's first acknowledgement on."""
    spans = []
    for number, younger in enumerate(reigns):
        before = {reign.server for reign in reigns[:number] if reign.run != younger.run}
        starts = [write.start for write in beside if write.server in before and younger.since < write.start]
        if starts:
            spans.append((younger.since, max(younger.since, min(max(starts), younger.until))))
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def stale_reads(history: Sequence[Operation], kept: set[tuple[str, int]]) -> list[tuple[Operation, Operation]]:
    """Reads that lack a write acknowledged before they began, with the oldest such; what is gone is lost instead."""
    appends = by_key(history, Action.APPEND)
    found = []
    for read in history:
        if read.action is not Action.READ_LIST or not read.is_acknowledged:
            continue
        seen = set(elements(read))
        missed = [
            write
            for write in appends.get(read.key, ())
            if write.is_acknowledged and write.end < read.start and write.value not in seen
            and (write.key, write.value) in kept
        ]  # fmt: skip
        if missed:
            found.append((read, min(missed, key=lambda write: write.end)))
    return found


def is_before_its_heir(read: Operation, missed: Operation, reigns: Sequence[Reign]) -> bool:
    """Whether a read was answered by a former master, just after its heir had begun to take writes."""
    if not read.server or not missed.server or run_of(read.server) == run_of(missed.server):
        return False
    heir: Mapping[str, Reign] = {reign.server: reign for reign in reigns}
    return read.start < heir[missed.server].since + LAG_SECONDS


def stale_inside_seconds(history: Sequence[Operation], struck: float, mended: float) -> float | None:
    """For how long after the cut a reader inside was shown lists without what the other side had acknowledged.

    What a server shows that calls itself a replica is nobody's promise. None where nobody read there before the cut,
    and got an answer.
    """
    read = [o for o in history if ISOLATED in o.client and o.action is Action.READ_LIST and o.is_acknowledged]
    inside = [o for o in read if not o.server.endswith(REPLICA)]
    if not any(read.end <= struck for read in inside):
        return None
    outside = [o for o in history if ISOLATED not in o.client and o.action is Action.APPEND]
    written = {(o.key, o.value) for o in outside if isinstance(o.value, int)}
    cut = [read for read in inside if struck < read.start and read.end < mended]
    stale = stale_reads([*outside, *cut], written)
    return round(max((read.start - struck for read, _ in stale), default=0.0), 1)
