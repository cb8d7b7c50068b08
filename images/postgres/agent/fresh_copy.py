"""Has the primary thrown away WAL that this replica still needs? Then only a fresh copy helps. Pure: no IO, no clock.

The proof is fourfold, and time is no part of it: the replica stands at a segment, which lies behind the primary; the
primary's directory does not hold it; and the replica has asked for it, again and again, and was sent away each time. A
replica that is merely slow, paused or cut off does not ask: it asks when it has read all that it has itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# PostgreSQL asks anew every 5 s.
ASKED_IN_VAIN = 3
FIRST_PAUSE_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 6 * 3600.0
WITHOUT_LINK = ("starting", "running")
# "postgres: shop: startup waiting for 0000000300000000000000A1": timeline, then the number of the segment.
STARTUP = re.compile(r"\bstartup\b.* [0-9A-F]{8}([0-9A-F]{16})$")


@dataclass(frozen=True, slots=True)
class Replica:
    """What this member has and wants."""

    system: str
    timeline: int
    lsn: int  # nothing before it is missing in a consistent database
    segment: str  # the one that it reads or waits for: 16 hexadecimal digits, without the timeline


@dataclass(frozen=True, slots=True)
class Primary:
    """What a server that writes has and holds for this member."""

    system: str
    timeline: int
    lsn: int
    segment: str  # the one that it writes
    kept: frozenset[str]
    left_at: str  # when the member's replication slot was last left; empty while it is in use, or does not exist


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How often this replica has asked this primary in vain for the same segment."""

    about: tuple[str, int, str] = ("", 0, "")
    left_at: str = ""
    in_vain: int = 0

    def look(self, leader: str, replica: Replica, primary: Primary) -> Suspicion:
        """Both were seen; whatever speaks against it, or has changed, ends the suspicion."""
        if not is_out_of_reach(replica, primary):
            return Suspicion()
        about = (leader, primary.timeline, replica.segment)
        if about != self.about:
            return Suspicion(about, primary.left_at)
        if primary.left_at == self.left_at:
            return self
        return replace(self, left_at=primary.left_at, in_vain=self.in_vain + 1)

    @property
    def is_certain(self) -> bool:
        """Whether to ask for a fresh copy."""
        return self.in_vain >= ASKED_IN_VAIN


def is_out_of_reach(replica: Replica, primary: Primary) -> bool:
    """Whether the primary, which has all that this replica has, lacks a segment that the replica needs.

    A primary never gets back what lies behind it.
    """
    is_ahead = primary.timeline >= replica.timeline and primary.lsn >= replica.lsn
    is_gone = replica.segment < primary.segment and replica.segment not in primary.kept
    return replica.system == primary.system and is_ahead and is_gone and bool(primary.left_at)


def is_in_question(cluster: Mapping[str, Any], me: str) -> bool:
    """Whether Patroni says that this member is a replica that runs and does not stream, and that nobody paused it."""
    mine: Mapping[str, Any] = next((member for member in cluster.get("members", []) if member["name"] == me), {})
    return mine.get("role") not in (None, "leader") and mine.get("state") in WITHOUT_LINK and not cluster.get("pause")


def leader_of(cluster: Mapping[str, Any], me: str) -> Mapping[str, Any] | None:
    """The other member that leads and runs."""
    leaders = (member for member in cluster.get("members", []) if member.get("role") == "leader")
    return next((each for each in leaders if each.get("state") == "running" and each["name"] != me), None)


def segment_read(titles: Iterable[str]) -> str:
    """The segment that a server's startup process reads or waits for, by its title; empty: there is none."""
    found = (STARTUP.search(title) for title in titles)
    return next((match[1] for match in found if match), "")


def slot_of(member: str) -> str:
    """How Patroni calls the slot of a member; pods have no other sign to be replaced."""
    return member.replace("-", "_")


def lsn_of(text: str) -> int:
    """A position in WAL as a number."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def replica_of(control: str, segment: str) -> Replica:
    """This member, by what pg_controldata prints."""
    lines = (line.partition(":") for line in control.splitlines())
    field = {name: value.strip() for name, _, value in lines}
    return Replica(
        system=field["Database system identifier"],
        timeline=max(int(field["Latest checkpoint's TimeLineID"]), int(field["Min recovery ending loc's timeline"])),
        lsn=max(lsn_of(field["Latest checkpoint location"]), lsn_of(field["Minimum recovery ending location"])),
        segment=segment,
    )


def primary_of(answer: Mapping[str, Any], member: str) -> Primary:
    """The primary, by its answer to `STATE`."""
    return Primary(
        system=answer["system"],
        timeline=int(answer["file"][:8], 16),
        lsn=lsn_of(answer["lsn"]),
        segment=answer["file"][8:],
        kept=frozenset(answer["kept"]),
        left_at=(answer["slots"] or {}).get(slot_of(member)) or "",
    )


def pause_seconds(copies: int) -> float:
    """How long nothing is asked for after so many copies: one that keeps being needed has a cause of its own."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(copies - 1, 10), LONGEST_PAUSE_SECONDS)
