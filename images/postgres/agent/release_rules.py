"""When may a standby take the leader lock off a primary that has gone silent? Pure: no IO, no clock.

The argument is in docs/early-failover.md. Two parts: `Watch` says when an attempt is worth making (being wrong here
costs a needless failover), `Attempt` how it is made (being wrong here would cost data; it trusts no clock, no cache
and no silence, and a test walks through every interleaving of it with Patroni's own steps).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# Any of these changes with every renewal.
RECORD = ("leader", "renewTime", "acquireTime", "transitions", "optime")
NOTE = "appstack.dev/early-failover"
# Whoever was not looking for this long has missed renewals, and starts to count anew.
LONGEST_LOOK_SECONDS = 2.5
# Whoever woke up so late is short of processor time itself, and no judge of how slow another one is.
LATEST_WAKE_SECONDS = 0.3
SILENT_ROUNDS = 2
# A lock that is healthy stands still from one renewal to the next, and a little longer on a busy machine.
MISSED_RENEWALS = 3
# A machine that still accepts connections is not lost: what is silent there may only be slow.
MUTE_PATIENCE = 1.5


@dataclass(frozen=True, slots=True)
class Stored:
    """One ConfigMap of Patroni's as the API server holds it."""

    version: str
    annotations: Mapping[str, str]


def record_of(lock: Stored) -> tuple[str, ...]:
    """What a renewal of the lock changes."""
    return tuple(lock.annotations.get(key, "") for key in RECORD)


def holder_of(lock: Stored) -> str:
    """The member that holds the lock; empty where it is free."""
    return lock.annotations.get("leader", "")


def address_of(lock: Stored, member: str) -> str:
    """Where a member is, as the lock's holder wrote it down (failsafe mode); empty if it did not."""
    try:
        members = json.loads(lock.annotations.get("failsafe", "{}"))
    except ValueError:
        return ""
    return urlsplit(members.get(member, "")).hostname or ""


def note_of(me: str, record: tuple[str, ...]) -> str:
    """What whoever releases a lock writes beside it."""
    return f"{me} takes over from {record[0]}, lock of {record[1]}"


def found_silent(lock: Mapping[str, str]) -> str:
    """The member whose lock was released early, as long as nobody has taken it; empty: nobody's was.

    By the annotations of the lock: a note about an older lock names another time.
    """
    taken, _, renewed = lock.get(NOTE, "").partition(", lock of ")
    if lock.get("leader") or not renewed or renewed != lock.get("renewTime"):
        return ""
    return taken.rpartition(" takes over from ")[2]


class Sign(Enum):
    """What came back from the lock's holder when it was asked in every way there is; the strongest sign counts."""

    GONE = -1  # no connection, and Kubernetes has no such pod any more: deleted, or replaced by one of its name
    NOTHING = 0  # no connection: cut off, crashed, or no process there
    MUTE = 1  # its machine accepts connections, and nobody speaks: frozen, or very slow
    ANSWER = 2


@dataclass(frozen=True, slots=True)
class Watch:
    """For how long this member has seen the lock stand still and its holder be silent, by its own clock."""

    me: str
    record: tuple[str, ...] = ()
    still_since: float = 0.0
    looked_at: float = 0.0
    silent_rounds: int = 0
    is_mute: bool = False
    is_gone: bool = False

    def look(self, lock: Stored, now: float, late_seconds: float = 0.0) -> Watch:
        """The lock was seen, or nothing new was heard of it; this member woke up so much later than it wanted."""
        record = record_of(lock)
        slept = now - self.looked_at > LONGEST_LOOK_SECONDS or late_seconds > LATEST_WAKE_SECONDS
        if record != self.record or slept:
            return Watch(self.me, record, still_since=now, looked_at=now)
        return replace(self, looked_at=now)

    def heard(self, sign: Sign) -> Watch:
        """The holder was asked: one answer of any kind ends the suspicion."""
        if sign is Sign.ANSWER:
            return replace(self, silent_rounds=0, is_gone=False)
        is_mute = self.is_mute or sign is Sign.MUTE
        return replace(self, silent_rounds=self.silent_rounds + 1, is_mute=is_mute, is_gone=sign is Sign.GONE)

    def is_suspicious(self, patience_seconds: float) -> bool:
        """Whether the holder should be asked: somebody else holds the lock, and a renewal is overdue."""
        is_another_s = bool(self.record) and self.record[0] not in ("", self.me)
        return is_another_s and self.looked_at - self.still_since >= patience_seconds * 0.4

    def has_waited(self, patience_seconds: float) -> bool:
        """Whether the lock may be taken off its holder, if the store agrees: at once where nobody can come back."""
        if self.is_gone:
            return self.is_suspicious(patience_seconds)
        needed_seconds = patience_seconds * (MUTE_PATIENCE if self.is_mute else 1)
        is_long = self.looked_at - self.still_since >= needed_seconds
        return self.is_suspicious(patience_seconds) and is_long and self.silent_rounds >= SILENT_ROUNDS


def patience(least_seconds: float, loop_wait_seconds: float) -> float:
    """How long a lock has to stand still, where Patroni renews it so often."""
    return max(least_seconds, MISSED_RENEWALS * loop_wait_seconds)


def is_fit(status: Mapping[str, object]) -> bool:
    """Whether this member's own Patroni says that it could lead: a running replica, and nobody has paused it."""
    return status.get("role") == "replica" and status.get("state") == "running" and not status.get("pause")


class Step(Enum):
    """What an attempt asks of the store next."""

    READ_LOCK = "read the lock"
    READ_SYNC = "read who holds every commit"
    TOUCH_SYNC = "make stale writes of the old primary fail"
    RELEASE = "release the lock"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the store; a change only goes through at exactly this version."""

    suffix: str  # of the ConfigMap
    version: str = ""
    change: Mapping[str, str | None] | None = None  # None: read, from the store itself and not from a cache


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to release the lock. Each step is an own request; it may be killed between any two."""

    me: str
    record: tuple[str, ...]  # of the lock, as it has stood still
    step: Step = Step.READ_LOCK
    lock_version: str = ""
    sync_version: str = ""
    why_not: str = ""
    is_unanswered: bool = False  # nothing speaks against another attempt

    @property
    def request(self) -> Request:
        """What to ask of the store next."""
        if self.step is Step.READ_LOCK:
            return Request("leader")
        if self.step is Step.READ_SYNC:
            return Request("sync")
        note = note_of(self.me, self.record)
        if self.step is Step.TOUCH_SYNC:
            return Request("sync", self.sync_version, {NOTE: note})
        return Request("leader", self.lock_version, {"leader": None, NOTE: note})

    def after(self, answer: Stored | None) -> Attempt:
        """The attempt with the answer to its request; None: there was none, or the store refused."""
        if answer is None:
            return replace(self.given_up(f"the store did not {self.step.value}"), is_unanswered=True)
        if self.step is Step.READ_LOCK:
            return self.after_lock(answer)
        if self.step is Step.READ_SYNC:
            return self.after_sync(answer)
        if self.step is Step.TOUCH_SYNC:
            return replace(self, step=Step.RELEASE)
        return replace(self, step=Step.DONE)

    def after_lock(self, lock: Stored) -> Attempt:
        """Go on only with the very lock that has stood still."""
        if record_of(lock) != self.record:
            return self.given_up("the lock was renewed")
        return replace(self, step=Step.READ_SYNC, lock_version=lock.version)

    def after_sync(self, sync: Stored) -> Attempt:
        """Go on only as the one recorded synchronous standby of that holder."""
        standbys = [name.strip().lower() for name in (sync.annotations.get("sync_standby") or "").split(",")]
        # With a quorum above 0 a commit may be held by others than those listed: a name alone proves nothing then.
        is_alone = standbys == [self.me.lower()] and sync.annotations.get("quorum") in (None, "", "0")
        if sync.annotations.get("leader") != self.record[0] or not is_alone:
            return self.given_up("this member is not the one recorded synchronous standby")
        return replace(self, step=Step.TOUCH_SYNC, sync_version=sync.version)

    def given_up(self, why: str) -> Attempt:
        """The attempt ended without a release."""
        return replace(self, step=Step.DONE, why_not=why)
