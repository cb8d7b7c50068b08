"""What clients did, operation by operation: start, end, outcome. JSON lines on disk. No clock of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Value = int | list[int] | None


class Outcome(StrEnum):
    """What the client knows afterwards."""

    OK = "ok"  # acknowledged: it must never be lost
    FAILED = "failed"  # certainly without effect
    UNKNOWN = "unknown"  # perhaps it took effect, now or later


class Action(StrEnum):
    """What an operation does to the object that its key names."""

    APPEND = "append"  # an integer to a list, which nobody else appends to at the same time
    READ_LIST = "read-list"  # from the leader: must be fresh
    WRITE = "write"  # a register
    READ = "read"  # a register, from where it must be fresh
    PROBE = "probe"  # a read that may be old: from a replica
    PUBLISH = "publish"
    DELIVER = "deliver"
    REDELIVER = "redeliver"  # a delivery that the broker itself marks as a repetition
    IMPORT = "import"  # a feed; its value: the number of rows that were accepted
    IMPORTED = "imported"  # a feed that ended; its value: the number of rows that took effect


# The service writes for its user with these, and reads with those.
WRITES = frozenset({Action.APPEND, Action.WRITE, Action.PUBLISH, Action.IMPORT})
READS = frozenset({Action.READ_LIST, Action.READ, Action.PROBE, Action.DELIVER, Action.REDELIVER})


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client; times are of the monotonic clock that all processes of a machine share."""

    client: str
    action: Action
    key: str
    value: Value
    start: float
    end: float
    outcome: Outcome
    detail: str = ""  # the error in words
    server: str = ""  # who answered, where the client knows it

    @property
    def is_acknowledged(self) -> bool:
        """Whether the client was told that it is done."""
        return self.outcome is Outcome.OK


def to_line(operation: Operation) -> str:
    """One line of a history file."""
    return json.dumps(asdict(operation), separators=(",", ":"))


def from_line(line: str) -> Operation:
    """Read a line. Raises ValueError and KeyError for what is none."""
    fields: dict[str, Any] = json.loads(line)
    return Operation(**{**fields, "action": Action(fields["action"]), "outcome": Outcome(fields["outcome"])})


def read_histories(paths: Iterable[Path]) -> list[Operation]:
    """All operations of all clients, in the order of their starts. A last line that was cut by a kill is dropped."""
    return sorted((each for path in paths for each in read_history(path)), key=lambda operation: operation.start)


def read_history(path: Path) -> Iterator[Operation]:
    """The operations of one file."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield from_line(line)


def of_clients(history: Iterable[Operation], *prefixes: str) -> list[Operation]:
    """The operations of the clients whose names begin so."""
    return [operation for operation in history if operation.client.startswith(prefixes)]
