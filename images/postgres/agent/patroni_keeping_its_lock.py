#!/usr/bin/python3
"""Patroni, with five rules changed. When does a primary stop that does not know whether its lock was renewed?

A slow API server (etcd elects a leader, a disk stalls) carries out a renewal and answers it too late. Patroni asks once
more, meets a conflict with its own first request, and where `retry_timeout` leaves no second to look who holds the
lock, it stops a healthy primary at once (patroni/patroni#3035). Of a store that does not answer at all it thinks
better: with failsafe mode it goes on while every member agrees. Here that decides too.

And where a member is lost, one silence of `retry_timeout` would stop the other, though nobody could take its place.
It goes on for as long as `lone_primary.py` lets it, and its lock is good for longer.

How long does a candidate wait for a former primary? Patroni asks every member and gives it 2 s. One whose lock was
released early has been silent to every question just before: it is asked once more, and given less.

A primary that hands over before a planned stop keeps its role label until its successor has one (`staying.py`). And it
asks again where giving its lock back failed, of which Patroni takes no notice: all would wait until it has run out.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from lone_primary import LONE_TTL_SECONDS, Renewal, Rhythm, is_alone, may_go_on
from patroni.__main__ import main
from patroni.dcs import Leader, Member
from patroni.dcs.kubernetes import Kubernetes, KubernetesError
from patroni.ha import Ha, _MemberStatus
from release_rules import found_silent
from staying import may_stay
from stop_at_switchover import NOTE, is_wanted

Renew = Callable[[Kubernetes, dict[str, Any], str | None, list[str]], bool]
Acquire = Callable[[Kubernetes], bool]
UpdateLock = Callable[..., bool]
AskAll = Callable[[Ha], bool]
Ask = Callable[[Ha, Member], _MemberStatus]
Touch = Callable[[Kubernetes, dict[str, Any]], bool]
Release = Callable[[Kubernetes, Leader | None, int | None], bool]

# Whoever lives answers within milliseconds, and ends the failover.
SILENT_SECONDS = 0.5
# The server has stopped: for so long it is worth while to ask again, soon at first and then ever more rarely.
RELEASE_SECONDS, AGAIN_SECONDS = 10.0, 0.2


def now() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def holder(annotations: Mapping[str, str] | None) -> str | None:
    """Who holds the lock, by the notes of its ConfigMap."""
    return (annotations or {}).get("leader")


def that_knows_when_it_failed(renew: Renew) -> Renew:
    """A renewal that is False only where another one holds the lock, as the watch last told, and an error elsewhere."""

    def renewed(dcs: Kubernetes, annotations: dict[str, Any], version: str | None, ips: list[str]) -> bool:
        began = now()
        if getattr(dcs, "is_lone", False):
            annotations = {**annotations, "ttl": str(LONE_TTL_SECONDS)}
        if renew(dcs, annotations, version, ips):
            dcs.renewal = Renewal(began, float(annotations["ttl"]))
            return True
        lock = dcs._kinds.get(dcs.leader_path)
        if lock is None or holder(lock.metadata.annotations) != dcs._name:
            return False
        raise KubernetesError("nobody knows whether the lock was renewed")

    return renewed


def that_notes_when(acquire: Acquire) -> Acquire:
    """Taking the lock, which is its first renewal."""

    def acquired(dcs: Kubernetes) -> bool:
        began = now()
        is_ours = acquire(dcs)
        if is_ours:
            dcs.renewal = Renewal(began, float(dcs.ttl))
        return is_ours

    return acquired


def whom_commits_wait_for(ha: Ha) -> str | None:
    """The names that PostgreSQL was last told, before they were recorded."""
    names: str | None = ha.state_handler.config._server_parameters.get("synchronous_standby_names")
    return names


def record_of_commits(dcs: Kubernetes) -> dict[str, str] | None:
    """What is known of who holds every commit."""
    record = dcs._kinds.get(dcs.sync_path)
    return record.metadata.annotations if record else None


def that_notes_who_else_may_lead(update: UpdateLock) -> UpdateLock:
    """A renewal that knows whether it may be good for longer."""

    def updated(ha: Ha, *args: Any, **kwargs: Any) -> bool:
        dcs = ha.dcs
        alone = is_alone(dcs._name, record_of_commits(dcs), whom_commits_wait_for(ha))
        dcs.is_lone = ha.is_synchronous_mode() and alone
        return update(ha, *args, **kwargs)

    return updated


def that_nobody_needs_to_answer(ask_all: AskAll) -> AskAll:
    """Failsafe mode: whether a primary that cannot renew its lock may go on."""

    def may(ha: Ha) -> bool:
        dcs = ha.dcs
        renewal = getattr(dcs, "renewal", None)
        known = (dcs._name, record_of_commits(dcs), whom_commits_wait_for(ha), renewal)
        if ha.is_synchronous_mode() and may_go_on(*known, now(), Rhythm(dcs.loop_wait, dcs._retry.deadline)):
            logging.getLogger("patroni").info("nobody else may lead, and the lock is good for a while")
            return True
        return ask_all(ha)

    return may


def that_hardly_waits_for_the_silent(ask: Ask) -> Ask:
    """The question to another member before a promotion."""

    def asked(ha: Ha, member: Member) -> _MemberStatus:
        lock = ha.dcs._kinds.get(ha.dcs.leader_path)
        if lock is not None and member.name == found_silent(lock.metadata.annotations or {}):
            try:
                ha.patroni.request(member, timeout=SILENT_SECONDS, retries=0)
            except Exception as error:  # whatever it is, it is no answer: as Patroni itself takes it
                logging.getLogger("patroni").info("%s was found silent, and still is: %s", member.name, error)
                return _MemberStatus.unknown(member)
        return ask(ha, member)

    return asked


def that_stays_until_its_successor_comes(touch: Touch) -> Touch:
    """What a member writes on its own pod: of a stop that another member waits for nothing, for a moment."""

    def touched(dcs: Kubernetes, data: dict[str, Any]) -> bool:
        if data["state"] == "running":
            dcs.stopped_at = None
            return touch(dcs, data)
        if dcs.stopped_at is None and is_wanted(NOTE, time.time()):
            dcs.stopped_at = now()
        role_of = {name: (pod.metadata.labels or {}).get(dcs._role_label) for name, pod in dcs._pods.copy().items()}
        if dcs.stopped_at is not None and may_stay(dcs._name, role_of, dcs._leader_label_value, now() - dcs.stopped_at):
            return True
        return touch(dcs, data)

    return touched


def that_asks_again(release: Release) -> Release:
    """Giving the lock back, until that is done, or it is no longer this member's, as the watch tells."""

    def released(dcs: Kubernetes, leader: Leader | None, last_lsn: int | None = None) -> bool:
        give_up_at, pause = now() + RELEASE_SECONDS, AGAIN_SECONDS
        try:
            while not (is_done := release(dcs, leader, last_lsn)) and now() < give_up_at:
                lock = dcs._kinds.get(dcs.leader_path)
                if lock is None or holder(lock.metadata.annotations) != dcs._name:
                    break
                logging.getLogger("patroni").warning("the lock could not be given back, once more in %.1f s", pause)
                time.sleep(pause)
                pause *= 2
        except SystemExit:  # told to stop meanwhile: Patroni takes the lock for given back, and would not do it again
            release(dcs, leader, last_lsn)
            raise
        return is_done

    return released


# Not below: as a pod's first process Patroni works in a child, which imports this module where it is not a mere fork.
Kubernetes._update_leader_with_retry = that_knows_when_it_failed(Kubernetes._update_leader_with_retry)
Kubernetes.attempt_to_acquire_leader = that_notes_when(Kubernetes.attempt_to_acquire_leader)
Ha.update_lock = that_notes_who_else_may_lead(Ha.update_lock)
Ha.check_failsafe_topology = that_nobody_needs_to_answer(Ha.check_failsafe_topology)
Ha.fetch_node_status = that_hardly_waits_for_the_silent(Ha.fetch_node_status)
Kubernetes.delete_leader = that_asks_again(Kubernetes.delete_leader)
Kubernetes.stopped_at = None
Kubernetes.touch_member = that_stays_until_its_successor_comes(Kubernetes.touch_member)

if __name__ == "__main__":
    sys.exit(main())
