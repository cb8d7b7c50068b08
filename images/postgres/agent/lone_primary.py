"""May a primary whose lock cannot be renewed go on for a while, asking nobody? Pure: no IO, no clock.

It may while the record of who holds every commit names it alone, since then no other member may lead; and only while
its lock is good in any case, since somebody may turn that rule off meanwhile. Its lock is good for longer then: nobody
waits for its end. The argument is in docs/early-failover.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Record = Mapping[str, str | None] | None

LONE_TTL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How Patroni works, in seconds."""

    loop_wait: float
    retry_timeout: float  # waits so long for the store: once for news, and once for the renewal
    asking: float = 4.0  # asks each member twice, for 2 s
    stopping: float = 2.0  # until no session is left

    @property
    def needed(self) -> float:
        """For another loop, in which it decides otherwise, and the stop."""
        return self.loop_wait + 2 * self.retry_timeout + self.asking + self.stopping


@dataclass(frozen=True, slots=True)
class Renewal:
    """The last renewal of the lock that is known to have been stored."""

    began: float
    ttl: float  # nobody takes a lock that has been renewed so recently

    def leaves_time(self, now: float, rhythm: Rhythm) -> bool:
        """Whether the lock is good until a primary that goes on now can have stopped."""
        return now + rhythm.needed <= self.began + self.ttl


def is_alone(me: str, record: Record, waits_for: str | None) -> bool:
    """By the record of who holds every commit, and by whom commits wait for.

    By these as well, since the record may be newer than we know: whoever may be in it is waited for before.
    """
    record = record or {}
    named = record.get("leader") == me and not record.get("sync_standby") and record.get("quorum") in (None, "", "0")
    return named and not waits_for


def may_go_on(
    me: str, record: Record, waits_for: str | None, renewal: Renewal | None, now: float, rhythm: Rhythm
) -> bool:
    """Whether a primary that could not renew its lock needs nobody's consent."""
    return is_alone(me, record, waits_for) and renewal is not None and renewal.leaves_time(now, rhythm)
