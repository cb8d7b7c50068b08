"""Is a history possible for a store that keeps its word? List-append, register, message and import checks. Pure.

Sound rather than complete: whatever is reported did go wrong. An operation with an unknown outcome may have taken
effect at any time after its start, or never; but what a fresh read has shown is there from then on, whatever its writer
was told.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from tests.chaos.history import Action, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.chaos.history import Value


class Fault(StrEnum):
    """A promise that a history shows broken."""

    LOST = "lost"  # acknowledged or shown, and gone in the end
    STALE = "stale"  # acknowledged or shown before a read began, and not in it, though there in the end
    DUPLICATED = "duplicated"  # one operation, two effects
    RESURRECTED = "resurrected"  # reported as failed, and there
    INVENTED = "invented"  # there, and written by nobody
    REORDERED = "reordered"  # one acknowledged before the other began, and behind it


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise."""

    fault: Fault
    key: str
    value: int
    detail: str = ""


def check(history: Sequence[Operation], final: Sequence[Operation]) -> list[Finding]:
    """All findings; `final` are the reads after the recovery, of every key, by which losses are told."""
    return [
        *check_lists(history, final),
        *check_registers(history, final),
        *check_messages(history),
        *check_imports(history),
    ]


def by_key(operations: Iterable[Operation], *actions: Action) -> dict[str, list[Operation]]:
    """Operations of these kinds by their key."""
    found: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.action in actions:
            found[operation.key].append(operation)
    return found


def check_lists(history: Sequence[Operation], final: Sequence[Operation]) -> Iterator[Finding]:
    """List-append: each list holds what is due, once, in the order of time, in each read that came later."""
    reads = by_key((o for o in history if o.is_acknowledged), Action.READ_LIST)
    last = {operation.key: operation for operation in final if operation.action is Action.READ_LIST}
    for key, appends in by_key(history, Action.APPEND).items():
        end = elements(last[key]) if key in last else []
        shown = first_shown(reads.get(key, []))
        yield from check_list(key, appends, end, shown)
        kept = set(end)
        due = {append.value: due_since(append, shown) for append in appends}
        for read in reads.get(key, []):
            yield from stale_elements(due, read, kept)


def elements(read: Operation) -> list[int]:
    """The list that a read saw."""
    return read.value if isinstance(read.value, list) else []


def first_shown(reads: Iterable[Operation]) -> dict[int, float]:
    """When the first of these reads that showed an element had ended."""
    found: dict[int, float] = {}
    for read in sorted(reads, key=lambda read: read.end):
        for value in elements(read):
            found.setdefault(value, read.end)
    return found


def due_since(append: Operation, shown: Mapping[int, float]) -> float:
    """From when on each fresh read has to show an element; never, as long as nobody was told that it is there."""
    by_reader = shown.get(append.value, inf) if isinstance(append.value, int) else inf
    return min(by_reader, append.end if append.is_acknowledged else inf)


def check_list(
    key: str, appends: Sequence[Operation], end: Sequence[int], shown: Mapping[int, float]
) -> Iterator[Finding]:
    """What a list holds in the end, against what was appended, and what readers were shown."""
    by_value = {append.value: append for append in appends}
    present = Counter(end)
    for value, append in by_value.items():
        if isinstance(value, int) and due_since(append, shown) < inf and value not in present:
            words = append.client if append.is_acknowledged else f"{append.client}: in doubt, but a reader was shown it"
            yield Finding(Fault.LOST, key, value, words)
    for value, count in present.items():
        if value not in by_value:
            yield Finding(Fault.INVENTED, key, value)
        elif by_value[value].outcome is Outcome.FAILED:
            yield Finding(Fault.RESURRECTED, key, value, by_value[value].detail)
        if count > 1:
            yield Finding(Fault.DUPLICATED, key, value, f"{count} times")
    yield from reordered([by_value[value] for value in dict.fromkeys(end) if value in by_value])


def reordered(seen: Sequence[Operation]) -> Iterator[Finding]:
    """Elements that stand behind one whose append began only after they were acknowledged."""
    newest: Operation | None = None
    for append in seen:
        if newest and append.is_acknowledged and append.end < newest.start and isinstance(append.value, int):
            yield Finding(Fault.REORDERED, append.key, append.value, f"behind {newest.value}")
        newest = append if newest is None or append.start > newest.start else newest


def stale_elements(due: Mapping[Value, float], read: Operation, kept: set[int]) -> Iterator[Finding]:
    """Elements that a read should have seen. Those that are gone in the end as well are told as lost."""
    seen = set(elements(read))
    for value, since in due.items():
        if since < read.start and isinstance(value, int) and value not in seen and value in kept:
            yield Finding(Fault.STALE, read.key, value, f"{read.client} did not see it")


def check_registers(history: Sequence[Operation], final: Sequence[Operation]) -> Iterator[Finding]:
    """Registers with one writer each: a read sees the newest write acknowledged before it began, or a newer one."""
    reads = by_key((o for o in history if o.is_acknowledged), Action.READ)
    last = by_key(final, Action.READ)
    for key, writes in by_key(history, Action.WRITE).items():
        acknowledged = sorted((w for w in writes if w.is_acknowledged), key=lambda write: write.end)
        by_value = {as_key(write.value): write for write in writes}
        for read in reads.get(key, []):
            yield from check_register_read(acknowledged, by_value, read, Fault.STALE)
        for read in last.get(key, []):
            yield from check_register_read(acknowledged, by_value, read, Fault.LOST)


def as_key(value: Value) -> int | None:
    """A register's value; a list is none."""
    return value if isinstance(value, int) else None


def check_register_read(
    acknowledged: Sequence[Operation], by_value: Mapping[int | None, Operation], read: Operation, fault: Fault
) -> Iterator[Finding]:
    """One read of a register against its writes; `acknowledged` is in the order of their ends."""
    due = bisect_right([write.end for write in acknowledged], read.start)
    newest = acknowledged[due - 1] if due else None
    if read.value is None:
        if newest and isinstance(newest.value, int):
            yield Finding(fault, read.key, newest.value, f"{read.client} saw nothing")
        return
    if not isinstance(read.value, int):
        return
    seen = by_value.get(read.value)
    if seen is None:
        yield Finding(Fault.INVENTED, read.key, read.value)
    elif seen.outcome is Outcome.FAILED:
        yield Finding(Fault.RESURRECTED, read.key, read.value, seen.detail)
    elif newest and seen.is_acknowledged and seen.end < newest.start and isinstance(newest.value, int):
        yield Finding(fault, read.key, newest.value, f"{read.client} saw {read.value}")


def check_messages(history: Sequence[Operation]) -> Iterator[Finding]:
    """Confirmed messages arrive. A second delivery is an effect of its own unless the broker marks it as repeated."""
    plain = Counter((o.key, o.value) for o in history if o.action is Action.DELIVER)
    marked = Counter((o.key, o.value) for o in history if o.action is Action.REDELIVER)
    published = {(o.key, o.value): o for o in history if o.action is Action.PUBLISH}
    for (key, value), message in published.items():
        if isinstance(value, int) and message.is_acknowledged and not plain[key, value] + marked[key, value]:
            yield Finding(Fault.LOST, key, value, "never delivered")
    for (key, value), count in plain.items():
        if not isinstance(value, int):
            continue
        if count > 1:
            yield Finding(Fault.DUPLICATED, key, value, f"{count} deliveries as new")
        if (key, value) not in published:
            yield Finding(Fault.INVENTED, key, value)


def check_imports(history: Sequence[Operation]) -> Iterator[Finding]:
    """Each row of an accepted feed takes effect once, by all that say so. The finding's value is the number of rows."""
    ended: dict[str, list[int]] = defaultdict(list)
    for operation in history:
        if operation.action is Action.IMPORTED and operation.is_acknowledged and isinstance(operation.value, int):
            ended[operation.key].append(operation.value)
    for key, feeds in by_key(history, Action.IMPORT).items():
        # A feed in doubt is sent again under its key, and owes its rows once.
        owed = next((f.value for f in feeds if f.is_acknowledged and isinstance(f.value, int)), None)
        least, most = min(ended[key], default=0), max(ended[key], default=0)
        if owed is not None and least < owed:
            yield Finding(Fault.LOST, key, owed - least, f"{least} of {owed} rows took effect")
        if owed is not None and most > owed:
            yield Finding(Fault.DUPLICATED, key, most - owed, f"{most} effects of {owed} rows")


def redelivered(history: Iterable[Operation]) -> int:
    """Deliveries that the broker marked as repetitions: allowed, and told. Whoever consumes has to know them."""
    return sum(operation.action is Action.REDELIVER for operation in history)
