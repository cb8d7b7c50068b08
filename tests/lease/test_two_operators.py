"""Two operators at one API server: one works, the other takes over, and never do both write."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.lease.conftest import OperatorProcess, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lease.conftest import Cluster

TAKEOVER_LIMIT_SECONDS = 120  # a limit for hangs; a Lease that nobody renews lasts 13
SERVICES = ("shop-redis-rw", "shop-postgres-rw")
STACK = """
apiVersion: appstack.dev/v1alpha1
kind: AppStack
metadata: {name: shop, namespace: NAME}
spec: {}
"""


def delete_services(cluster: Cluster, namespace: str) -> str:
    """Without waiting: kubectl now and then waits for ever where the operator makes the object anew at once."""
    return cluster.kubectl("delete", "service", *SERVICES, "-n", namespace, "--ignore-not-found", "--wait=false")


@contextmanager
def work_without_end(cluster: Cluster, namespace: str) -> Iterator[None]:
    """A stack whose Service somebody deletes again and again."""
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("apply", "-f", "-", stdin=STACK.replace("NAME", namespace))
    done = threading.Event()
    deleted: list[str] = []

    def go_on() -> None:
        while not done.wait(0.5):
            with suppress(AssertionError):  # where kubectl does not succeed once, it does so the next time
                deleted.append(delete_services(cluster, namespace))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        wait_until(lambda: all(f'"{each}"' in "".join(deleted) for each in SERVICES), "there is something to do", 120)
        yield
    finally:
        done.set()
        thread.join()


def writers(cluster: Cluster, since: datetime) -> list[str]:
    """Who wrote, one after the other; a name that comes back wrote among the writes of another."""
    names: list[str] = []
    for write in cluster.writes():
        if write.at >= since and (not names or names[-1] != write.process):
            names.append(write.process)
    return names


def wait_for_write(cluster: Cluster, process: str, since: datetime, limit_seconds: float) -> float:
    """The seconds until this process has written something."""
    return wait_until(
        lambda: any(each.process == process and each.at >= since for each in cluster.writes()),
        f"{process} writes",
        limit_seconds,
    )


def test_a_killed_holder_is_replaced_in_time(cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    holder, candidate = pair
    begun = datetime.now(UTC)
    with work_without_end(cluster, "killed"):
        wait_for_write(cluster, "a", begun, 120)
        assert (candidate.probe("/healthz"), candidate.is_leader()) == (200, False)
        holder.send(signal.SIGKILL)
        killed = datetime.now(UTC)
        seconds = wait_for_write(cluster, "b", killed, TAKEOVER_LIMIT_SECONDS)
    print(f"first write of the successor {seconds:.1f} s after SIGKILL")
    assert candidate.is_leader()
    assert writers(cluster, begun) == ["a", "b"]


def test_a_holder_that_was_frozen_ends_without_a_write(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    holder, _ = pair
    begun = datetime.now(UTC)
    with work_without_end(cluster, "frozen"):
        wait_for_write(cluster, "a", begun, 120)
        holder.send(signal.SIGSTOP)
        frozen = datetime.now(UTC)
        wait_for_write(cluster, "b", frozen, TAKEOVER_LIMIT_SECONDS)
        holder.send(signal.SIGCONT)
        assert holder.running.wait(timeout=60) == 1
        thawed = datetime.now(UTC)
        wait_for_write(cluster, "b", thawed, 120)
    assert "could not be renewed" in holder.log()
    assert writers(cluster, begun) == ["a", "b"]


def test_a_holder_that_is_told_to_stop_hands_over_at_once(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    holder, candidate = pair
    begun = datetime.now(UTC)
    with work_without_end(cluster, "stopped"):
        wait_for_write(cluster, "a", begun, 120)
        held_by = cluster.holder()
        assert held_by
        holder.send(signal.SIGTERM)
        assert holder.running.wait(timeout=60) == 0
        assert cluster.holder() != held_by, "it gave the Lease back: nobody waits until that has run out"
        seconds = wait_until(candidate.is_leader, "the candidate leads", TAKEOVER_LIMIT_SECONDS)
        wait_for_write(cluster, "b", begun, 120)
        written = (datetime.now(UTC) - begun).total_seconds()
    print(f"Lease taken {seconds:.1f} s after the end of the holder; written {written:.1f} s after the test began")
    assert writers(cluster, begun) == ["a", "b"]


def test_where_nothing_changes_nothing_is_written_but_the_lease(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    holder, candidate = pair
    begun = datetime.now(UTC)
    cluster.kubectl("create", "namespace", "quiet")
    cluster.kubectl("apply", "-f", "-", stdin=STACK.replace("NAME", "quiet"))
    wait_for_write(cluster, "a", begun, 120)
    counts = [0]

    def is_at_rest() -> bool:
        """For five seconds: what a creation sets off is over."""
        time.sleep(5)
        counts.append(len(cluster.writes()))
        return counts[-1] == counts[-2]

    wait_until(is_at_rest, "the stack is made as far as it can be without nodes", 120)
    renewals = cluster.renewals()
    time.sleep(20)
    assert len(cluster.writes()) == counts[-1]
    assert cluster.renewals() > renewals + 3
    assert (holder.is_leader(), candidate.is_leader()) == (True, False)


def test_a_candidate_ends_when_it_is_told_to(cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    holder, candidate = pair
    candidate.send(signal.SIGTERM)
    assert candidate.running.wait(timeout=60) == 0
    assert holder.is_leader()


def test_a_holder_whose_lease_is_taken_away_ends(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    holder, candidate = pair
    where = ("lease", "appstack-operator", "-n", "appstack-system")
    taken = '{"spec":{"holderIdentity":"somebody","leaseDurationSeconds":3600}}'  # for longer than this test lasts
    cluster.kubectl("patch", *where, "--type=merge", "-p", taken)
    assert holder.running.wait(timeout=60) == 1
    assert not candidate.is_leader()


def test_a_candidate_that_cannot_read_the_lease_is_alive_but_not_ready(cluster: Cluster) -> None:
    stranger = OperatorProcess(cluster, "stranger")
    stranger.start()
    wait_until(lambda: "forbidden" in stranger.log(), "the API server has refused it", 120)
    assert (stranger.probe("/healthz"), stranger.probe("/readyz")) == (200, 503)
    stranger.send(signal.SIGTERM)
    assert stranger.running.wait(timeout=60) == 0
