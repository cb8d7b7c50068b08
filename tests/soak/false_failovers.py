"""`make soak`: heavy load, paused and slow members and nodes; does anybody take a healthy primary for a lost one?

Every nuisance has to be proven to have happened. One writer is held to each member's own address, so that two members
that acknowledge at once are seen. What was found is kept in build/soak.json, also every ten turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appstack_lab.cgroups import processes_in
from appstack_lab.failures import LabError
from tests.chaos import gaps, processes
from tests.chaos.faults import mend_leftovers
from tests.chaos.history import READS, read_histories
from tests.chaos.load import STEADY, Load
from tests.chaos.run import commit, prepare
from tests.chaos.site import Site, Trouble, Victim
from tests.soak.waits import Happened, longest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.chaos.history import Operation

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
MEMBER = "sql-isolated."  # a writer held to a member's own address; the rest of its name is the member's number
# A frozen machine is mute, and the agents wait 4.5 s for one; its lock was renewed up to 1 s before it froze.
PAUSES = (2.0, 2.6, 3.2)
LATE_SECONDS = 0.8  # a pause that lasted longer by so much was another one: its primary may have been rightly given up
MANAGER_PAUSE_SECONDS = 10.0  # its PostgreSQL answers: only the lock's 20 s count
BURN_SECONDS, LEAST_BURNT_SECONDS = 20, 2.0
SLOW_SECONDS, STOPPED_SECONDS, RUNNING_SECONDS = 15.0, 0.15, 0.05  # a quarter of its speed
REST_SECONDS = 2.0
ROWS = 60000
BULK = f"""
    CREATE TABLE IF NOT EXISTS soak (t text);
    INSERT INTO soak SELECT repeat(md5(i::text), 30) FROM generate_series(1, {ROWS}) i;
    TRUNCATE soak;
"""
BURN = f"""
import os, time
children = [child for child in (os.fork() for _ in range(4)) if child]
end = time.time() + {BURN_SECONDS}
while time.time() < end: pass
if len(children) == 4:
    [os.waitpid(child, 0) for child in children]
    used = os.times()
    print(used.user + used.children_user)
"""


Lock = tuple[str, str, str]  # who holds it, how often it has changed hands, and the timeline that its holder writes


class Unproven(Exception):
    """A nuisance did not happen as it should have; the message says how."""


@dataclass
class Soak:
    """What is known so far; `result` is what build/soak.json says."""

    minutes: float
    lock_before: Lock
    lock: Lock
    turns: int = 0
    proven: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unproven: list[str] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)  # clients that ended by themselves
    has_ended: bool = False

    def why_not(self, history: Sequence[Operation]) -> list[str]:
        """Everything that speaks against a pass."""
        told = [] if self.lock == self.lock_before else [f"the lock went from {self.lock_before} to {self.lock}"]
        told += [f"not proven: {each}" for each in self.unproven]
        told += [f"never happened: {name}" for name in NUISANCES if not self.proven[name]]
        told += [f"ended by itself: {name}" for name in self.gone]
        told += [f"two members acknowledged at once: {pair}" for pair in two_at_once(history)[:5]]
        members = acknowledging(history)
        told += [] if len(members) == 1 else [f"{len(members)} members acknowledged: {', '.join(members)}"]
        return told if self.has_ended else [*told, "it was ended early"]


def acknowledging(history: Iterable[Operation]) -> dict[str, int]:
    """How many writes each member acknowledged to the writer that is held to it; members without any are left out."""
    found: dict[str, int] = defaultdict(int)
    for operation in history:
        if operation.client.startswith(MEMBER) and operation.is_acknowledged and operation.action not in READS:
            found[operation.client.removeprefix(MEMBER)] += 1
    return dict(found)


def two_at_once(history: Iterable[Operation]) -> list[str]:
    """Acknowledged writes of one member that another member's overlap in time, or lie between two of its own.

    A role that moves once moves at once: after the first write of the new primary nobody else acknowledges one.
    """
    writes = [o for o in history if o.client.startswith(MEMBER) and o.is_acknowledged and o.action not in READS]
    first: dict[str, Operation] = {}
    told = []
    for write in sorted(writes, key=lambda write: write.start):
        first.setdefault(write.client, write)
        newer = [o for o in first.values() if o.start > first[write.client].start and o.start < write.end]
        told += [f"{write.client} at {write.end:.2f}, {o.client} since {o.start:.2f}" for o in newer]
    overlaps = [(a, b) for a, b in itertools.pairwise(sorted(writes, key=lambda w: w.start)) if b.start < a.end]
    return told + [f"{a.client} and {b.client} at {b.start:.2f}" for a, b in overlaps if a.client != b.client]


# Nuisances: each is given the stack, the primary's pod, and the number of its turn


@contextmanager
def first_in_line() -> Iterator[None]:
    """The processor before all others, where we may: a pause has to end in time on a machine that has none free."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.sched_setscheduler(0, policy, priority)


def pause(pids: Callable[[], Iterable[int]], seconds: float) -> None:
    """Stop processes for so long; they were stopped to the end and not longer, and go on. Raises Unproven."""
    with first_in_line():
        began = time.monotonic()
        stop(pids, began + seconds)
        took_seconds = time.monotonic() - began
    if took_seconds > seconds + LATE_SECONDS:
        raise Unproven(f"processes were stopped for {took_seconds:.1f} s, not for {seconds:g}")


def stop(pids: Callable[[], Iterable[int]], until: float) -> None:
    """Stop processes until then. Raises Unproven."""
    frozen = processes.freeze(pids())
    try:
        frozen += processes.freeze(pids())  # what was born meanwhile
        time.sleep(max(until - time.monotonic(), 0))
        living = [
            pid for pid, started in frozen if processes.start_time(pid) == started and processes.state_of(pid) != "Z"
        ]
        stopped = processes.stopped(living)
        if not stopped or len(stopped) < len(living):
            raise Unproven(f"{len(stopped)} of {len(frozen)} processes were stopped")
    finally:
        processes.thaw(frozen)


def pause_member(site: Site, _: str, turn: int) -> None:
    member = member_of(site, turn)
    pause(lambda: processes.pids_of(member.containers), PAUSES[turn % len(PAUSES)])


def pause_server(site: Site, primary: str, turn: int) -> None:
    member = pod_of(site, primary)
    pause(lambda: processes.servers_of("postgres", member.containers), PAUSES[turn % len(PAUSES)])


def pause_manager(site: Site, primary: str, _: int) -> None:
    member = pod_of(site, primary)
    pause(lambda: (p for p in processes.pids_of(member.containers) if not processes.is_server("postgres", p)),
          MANAGER_PAUSE_SECONDS)  # fmt: skip


def pause_node(site: Site, _: str, turn: int) -> None:
    pause(lambda: pids_of_node(site, turn), PAUSES[turn % len(PAUSES)])


def slow_node(site: Site, _: str, turn: int) -> None:
    """A node gets a quarter of the time."""
    until = time.monotonic() + SLOW_SECONDS
    while time.monotonic() < until:
        pause(lambda: pids_of_node(site, turn), STOPPED_SECONDS)
        time.sleep(RUNNING_SECONDS)


def burn(site: Site, primary: str, _: int) -> None:
    """Four processes of the primary's pod want all of the machine."""
    used = site.kubectl("exec", "-n", site.namespace, primary, "--", "python3", "-c", BURN).strip()
    if float(used or 0) < LEAST_BURNT_SECONDS:
        raise Unproven(f"only {used or 'no'} seconds of processor time were burnt")


def write_bulk(site: Site, primary: str, _: int) -> None:
    sql = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-d", "postgres", "-c", BULK]
    said = site.kubectl("exec", "-n", site.namespace, primary, "--", *sql)
    if f"INSERT 0 {ROWS}" not in said:
        raise Unproven(f"psql said {' '.join(said.split())}")


NUISANCES: dict[str, Callable[[Site, str, int], None]] = {
    "a member paused": pause_member,
    "the primary's server alone paused": pause_server,
    "the primary's manager alone paused": pause_manager,
    "a node paused": pause_node,
    "a node slowed": slow_node,
    "processors burnt": burn,
    "bulk rows": write_bulk,
}


def member_of(site: Site, turn: int) -> Victim:
    """The members in turn."""
    pods = site.pods("postgres")
    return Victim.of(pods[turn % len(pods)])


def pod_of(site: Site, name: str) -> Victim:
    return next(Victim.of(pod) for pod in site.pods("postgres") if pod["metadata"]["name"] == name)


def pids_of_node(site: Site, turn: int) -> set[int]:
    """All that runs in the control groups of a node, in turn."""
    return processes_in(site.cluster, site.cluster.nodes[turn % len(site.cluster.nodes)].name)


def lock_of(site: Site) -> Lock:
    """The lock, and the timeline: a primary that stops itself and is promoted again keeps the one, not the other."""
    found = site.get("configmap", f"{site.name}-postgres-leader", "-n", site.namespace)
    notes = found["metadata"]["annotations"]
    told = [json.loads(pod["metadata"].get("annotations", {}).get("status", "{}")) for pod in site.pods("postgres")]
    timeline = max((int(each.get("timeline", 0)) for each in told), default=0)
    return notes.get("leader", ""), notes.get("transitions", ""), str(timeline)


# The run


def main() -> int:
    """0: the lock and its timeline stayed, every nuisance happened, one member alone acknowledged."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--cluster-name", default="appstack")
    parser.add_argument("--namespace", default="shop")
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an interrupted turn lets go of what it has stopped
    try:
        kubeconfig = BUILD / "clusters" / args.cluster_name / "kubeconfig"
        site = Site.at(args.cluster_name, kubeconfig, args.namespace)
        told = soak(site, args.minutes)
    except (LabError, Trouble) as error:
        print(f"make soak: {error}", file=sys.stderr)
        return 1
    for words in told:
        print(f"make soak: {words}", file=sys.stderr)
    return 1 if told else 0


def soak(site: Site, minutes: float) -> list[str]:
    """Load and nuisances for so long; what speaks against a pass."""
    mend_leftovers(site)
    directory = BUILD / "soak"
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    target = site.target()
    target.save(directory / "target.json")
    load, lock = Load(site, directory), lock_of(site)
    state, began = Soak(minutes, lock, lock), datetime.now(UTC)
    print(
        f"{minutes:g} minutes; the lock is {lock[0]}'s, {lock[1]} transitions and timeline {lock[2]} before", flush=True
    )
    with ExitStack() as cleanup:
        cleanup.callback((directory / "target.json").unlink)
        prepare(target)
        cleanup.callback(load.stop, load.running)
        node = site.cluster.nodes[0].name
        load.start([name for name in STEADY if name != "api-import"], node)
        load.wait_until_steady()
        for pod in site.pods("postgres"):  # only now: a replica refuses every write, and is never served
            member = Victim.of(pod)
            load.start([MEMBER + member.pod.rpartition("-")[2]], node, member.address)
        started = time.monotonic()
        while time.monotonic() - started < 60 * minutes and state.lock == state.lock_before and not state.gone:
            take_turn(site, state)
            state.gone = load.gone()
            if state.turns % 10 == 0:  # judging a long history takes its time
                keep(site, state, load, started, began)
        state.has_ended = time.monotonic() - started >= 60 * minutes
    return keep(site, state, load, started, began)


def take_turn(site: Site, state: Soak) -> None:
    """One nuisance, and a look at the lock after it."""
    name, since = list(NUISANCES)[state.turns % len(NUISANCES)], time.monotonic()
    try:
        NUISANCES[name](site, state.lock[0], state.turns // len(NUISANCES))
        state.proven[name] += 1
    except (Unproven, Trouble, StopIteration) as error:
        state.unproven.append(f"turn {state.turns}, {name}: {error}")
    state.happened.append(Happened(name, since, time.monotonic()))
    time.sleep(REST_SECONDS)
    state.turns += 1
    state.lock = lock_of(site)


def keep(site: Site, state: Soak, load: Load, started: float, began: datetime) -> list[str]:
    """Write build/soak.json; what speaks against a pass."""
    now = time.monotonic()
    history = read_histories([path for path in load.histories() if path.name.startswith("sql-")])
    told = state.why_not(history)
    held = [o for o in history if o.client == "sql-held"]
    window = gaps.Window(started, now)
    gap = gaps.write_gap(held, window)
    document: dict[str, Any] = {
        "date": began.isoformat(timespec="seconds"),
        "minutes": round((now - started) / 60, 1),
        "of_minutes": state.minutes,
        "turns": state.turns,
        "proven": dict(state.proven),
        "not_proven": state.unproven,
        "lock_before": state.lock_before,
        "lock_after": state.lock,
        "acknowledged_by_member": acknowledging(history),
        "two_at_once": two_at_once(history),
        "write_gap_s": None if gap is None else round(gap, 1),
        "longest_waits": longest(held, state.happened, window),
        "load_average": round(os.getloadavg()[1], 1),
        "commit": commit(),
        "images": site.images(),
        "passed": not told,
        "why_not": told,
    }
    (BUILD / "soak.json").write_text(json.dumps(document, indent=1) + "\n")
    return told


if __name__ == "__main__":
    sys.exit(main())
