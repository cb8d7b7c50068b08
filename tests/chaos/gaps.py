"""How long nobody was served, and how many requests suffered: read from a history. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.chaos.history import READS, WRITES, Action, Operation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SLOW_SECONDS = 1.0
# An answer that was given before the cut may reach its client a little after it: server and client are on one node,
# so it is only the wait for a processor. In 12 cuts measured the slowest acknowledged write took 0.35 s in whole.
UNDER_WAY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when a fault is looked at."""

    since: float
    until: float


def longest_gap(history: Iterable[Operation], actions: Collection[Action], window: Window) -> float | None:
    """The longest time between two successes that overlaps the window. None where nobody tried before it.

    The last success before the window opens it: a fault strikes between two operations.
    """
    ends = sorted(o.end for o in history if o.action in actions and o.is_acknowledged)
    before = [end for end in ends if end <= window.since]
    if not before:
        return None
    marks = [before[-1], *(end for end in ends if window.since < end <= window.until)]
    after = next((end for end in ends if end > window.until), None)
    # A gap that is still open at the end of the window counts up to there at least.
    marks.append(after if after is not None else window.until)
    return max(later - earlier for earlier, later in pairwise(marks))


def worst_gap(history: Iterable[Operation], actions: Collection[Action], window: Window) -> float | None:
    """The longest gap of any client: one that is served hides none that hangs.

    Who begins after the fault waits from its first attempt on. None where nobody, or not each, was served before.
    """
    of_client: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        if operation.action in actions:
            of_client[operation.client].append(operation)
    found = []
    for operations in of_client.values():
        begun = min(operation.start for operation in operations)
        gap = longest_gap(operations, actions, window) if begun <= window.since else wait_of(operations, begun, window)
        if gap is None:
            return None
        found.append(gap)
    has_steady = any(o.start <= window.since for operations in of_client.values() for o in operations)
    return max(found) if has_steady else None


def wait_of(operations: Iterable[Operation], begun: float, window: Window) -> float:
    """The longest gap of a client that began in the window; 0 for one that began after it."""
    marks = [begun, *sorted(o.end for o in operations if o.is_acknowledged and o.end <= window.until)]
    return max(later - earlier for earlier, later in pairwise([*marks, max(begun, window.until)]))


def write_gap(history: Iterable[Operation], window: Window) -> float | None:
    """The longest time for which a client had no write acknowledged."""
    return worst_gap(history, WRITES, window)


def read_gap(history: Iterable[Operation], window: Window) -> float | None:
    """The longest time for which a client had no read answered."""
    return worst_gap(history, READS, window)


def failed(history: Iterable[Operation], window: Window) -> int:
    """Operations that were under way in the window and were not acknowledged."""
    return sum(is_in(operation, window) and not operation.is_acknowledged for operation in history)


def slow(history: Iterable[Operation], window: Window, limit_seconds: float = SLOW_SECONDS) -> int:
    """Operations that were under way in the window, and acknowledged in the end, after longer than the limit."""
    return sum(
        is_in(operation, window) and operation.is_acknowledged and operation.end - operation.start > limit_seconds
        for operation in history
    )


def is_in(operation: Operation, window: Window) -> bool:
    """Whether an operation was under way in the window: a fault strikes whoever waits as it comes, too."""
    return window.since < operation.end and operation.start <= window.until


def isolated_acknowledgement(history: Iterable[Operation], cut: Window) -> float | None:
    """For how long after the cut a client on the cut-off side still had writes acknowledged; None if none tried.

    A write that was under way as the cut came is isolated as well, unless its answer was, too; one whose answer came
    after the mending was tried, and is nobody's fault.
    """
    tried = [o for o in history if o.action in WRITES and is_isolated(o, cut)]
    if not tried:
        return None
    return max((o.end - cut.since for o in tried if o.is_acknowledged and o.end < cut.until), default=0.0)


def is_isolated(operation: Operation, cut: Window) -> bool:
    """Whether the cut-off side alone answered an operation, or was to answer it."""
    has_met_the_cut = cut.since < operation.start or cut.since + UNDER_WAY_SECONDS < operation.end
    return has_met_the_cut and operation.start < cut.until


@dataclass(frozen=True, slots=True)
class Bin:
    """One step of a timeline, `at` seconds after the fault."""

    at: float
    succeeded: float  # operations a second
    failed: float


def timeline(history: Sequence[Operation], zero: float, begin: float, end: float, step: float) -> list[Bin]:
    """Successes and failures a second, by the time at which they ended; begin and end are relative to zero."""
    count = max(1, round((end - begin) / step))
    good, bad = [0] * count, [0] * count
    for operation in history:
        index = int((operation.end - zero - begin) // step)
        if 0 <= index < count:
            (good if operation.is_acknowledged else bad)[index] += 1
    return [Bin(begin + (n + 0.5) * step, good[n] / step, bad[n] / step) for n in range(count)]
