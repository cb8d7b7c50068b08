"""How long a writer waited, in which nuisance, and how much of it was its own doing. Pure: read from a history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.chaos.gaps import Window
    from tests.chaos.history import Operation

# A client tries every 0.1 s. One that was not at work for longer had no processor time: nobody kept it waiting.
RHYTHM_SECONDS = 0.2
MOST_TOLD = 12


@dataclass(frozen=True, slots=True)
class Happened:
    """A nuisance, from its first to its last moment."""

    name: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The time from one acknowledged write of a client to the next, or to the end, as build/soak.json tells it."""

    at_s: float  # since the beginning of the soak
    seconds: float
    client_asleep_s: float  # of these: the client itself did not try
    during: tuple[str, ...]  # the nuisances in force


def longest(history: Sequence[Operation], happened: Sequence[Happened], soak: Window) -> list[dict[str, Any]]:
    """The longest waits of a writer, longest first; also the one in which the soak ended."""
    done = [number for number, operation in enumerate(history) if operation.is_acknowledged]
    waits = [wait(history[first : last + 1], history[last].end, happened, soak) for first, last in pairwise(done)]
    waits += [wait(history[last:], soak.until, happened, soak) for last in done[-1:]]
    found = sorted((each for each in waits if each.at_s >= 0), key=lambda each: -each.seconds)
    return [asdict(each) for each in found[:MOST_TOLD]]


def wait(operations: Sequence[Operation], until: float, happened: Iterable[Happened], soak: Window) -> Wait:
    """From an acknowledged write, the first of these, to the next one, or to the end of the soak."""
    since = operations[0].end
    idle = [*(later.start - earlier.end for earlier, later in pairwise(operations)), until - operations[-1].end]
    during = [each.name for each in happened if each.since < until and each.until > since]
    asleep = sum(seconds for seconds in idle if seconds > RHYTHM_SECONDS)
    return Wait(round(since - soak.since, 1), round(until - since, 1), round(asleep, 1), tuple(during))
