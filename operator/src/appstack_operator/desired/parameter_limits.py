"""Values of PostgreSQL's settings that PostgreSQL takes and a stack cannot live with, and why. Pure.

A member's own program is asked about all others (parameters.py): it knows no memory limit, no volume and no pooler.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from appstack_operator.desired.quantities import bytes_of, mebibytes

# What begins like a number; and a number and its unit as we read them. PostgreSQL takes other spellings too (0x10000,
# 4e1GB, .9TB, 010 for eight): whoever writes so shall not pass by the limits.
NUMBER = re.compile(r"^\s*[+-]?\.?\d")
AMOUNT = re.compile(r"^\s*([+-]?(?:0|[1-9]\d*)(?:\.\d+)?)\s*([A-Za-z]*)\s*$")
SIZE_UNITS = {"B": 1, "kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
BLOCK_BYTES = 8192

DEFAULT_CONNECTIONS = 200
# Patroni, the agents, the operator, migrations, people, and those that PostgreSQL keeps for superusers.
LEAST_CONNECTIONS = 25
MOST_CONNECTIONS = 262_143  # PostgreSQL's own limit
LONGEST_STANDBY_DELAY_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Room:
    """What a member has."""

    memory: str  # a quantity
    volume_bytes: int  # of the smallest, as it is


def does_not_fit(name: str, value: str, room: Room) -> str:
    """Why a stack cannot live with this value; empty if it can, or if its unit is none (PostgreSQL says so)."""
    judge = JUDGES.get(name)
    if judge is None:
        return ""
    if NUMBER.match(value) and not AMOUNT.match(value):
        return "not judged in this spelling: write it as a plain number with its unit, like 512MB or 30s"
    return judge(value, room)


def fits_memory(value: str, room: Room) -> str:
    """PostgreSQL would start with more shared buffers than its container may use, and be killed once they fill."""
    size_bytes = amount(value, SIZE_UNITS, BLOCK_BYTES)
    if size_bytes is None or size_bytes < bytes_of(room.memory):
        return ""
    return f"more than the memory limit of a member, {room.memory}"


def fits_half_of_the_volume(value: str, room: Room) -> str:
    """WAL between two checkpoints must leave the data its place: a full volume stops every member alike."""
    return fits_volume(value, room, 2, "half")


def fits_a_quarter_of_the_volume(value: str, room: Room) -> str:
    """WAL that is kept for replicas comes on top of that."""
    return fits_volume(value, room, 4, "a quarter")


def fits_volume(value: str, room: Room, parts: int, share: str) -> str:
    """Whether WAL takes no more than its share of the smallest volume that a member has now."""
    size_bytes = amount(value, SIZE_UNITS, SIZE_UNITS["MB"])
    if size_bytes is None or size_bytes <= room.volume_bytes / parts:
        return ""
    volume = mebibytes(room.volume_bytes)
    return f"more than {share} of a member's volume, which has {volume}, for WAL alone; grow storage.size first"


def leaves_connections(value: str, room: Room) -> str:
    """What the stack itself needs, and the pooler a few of."""
    connections = amount(value, {}, 1)
    if connections is None or connections >= LEAST_CONNECTIONS:
        return ""
    return f"the stack itself needs {LEAST_CONNECTIONS} or more; the pooler's share follows this value"


def ends_conflicts(value: str, room: Room) -> str:
    """A replica applies all that it received before it leads, and waits that long for a query in its way."""
    delay_seconds = amount(value, TIME_UNITS, TIME_UNITS["ms"])
    if delay_seconds is None or 0 <= delay_seconds <= LONGEST_STANDBY_DELAY_SECONDS:
        return ""
    how_long = "for ever" if delay_seconds < 0 else f"for {value}"
    return f"a query on a replica could hold up its promotion {how_long}; 5min is the most"


def amount(value: str, units: Mapping[str, float], unit: float) -> float | None:
    """The number in a setting; without a unit it counts in `unit`. None where PostgreSQL has to judge."""
    found = AMOUNT.match(value)
    if found is None or (found[2] and found[2] not in units):
        return None
    return float(found[1]) * (units[found[2]] if found[2] else unit)


def connections_of(settings: Mapping[str, str]) -> int:
    """The connections that PostgreSQL takes with these settings; the least there may be where it is written oddly."""
    connections = amount(settings.get("max_connections", str(DEFAULT_CONNECTIONS)), {}, 1) or LEAST_CONNECTIONS
    return int(min(connections, MOST_CONNECTIONS))


JUDGES: Mapping[str, Callable[[str, Room], str]] = {
    "max_connections": leaves_connections,
    "max_standby_streaming_delay": ends_conflicts,
    "max_wal_size": fits_half_of_the_volume,
    "min_wal_size": fits_half_of_the_volume,
    "shared_buffers": fits_memory,
    "wal_keep_size": fits_a_quarter_of_the_volume,
}
