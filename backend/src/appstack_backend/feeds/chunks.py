"""Rows to chunks: the unit that is stored, sent, applied and, after a crash, repeated."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from appstack_backend.errors import RowError
from appstack_backend.feeds.csv_feed import Row

MOST_ERRORS = 1_000  # in one chunk, so that a file of nothing but errors is bounded too


@dataclass(slots=True)
class Chunk:
    """Some consecutive rows. The same file always has the same chunks, however it arrives in pieces."""

    number: int
    first_line: int = 0
    lines: list[str] = field(default_factory=list)
    errors: list[tuple[int, RowError]] = field(default_factory=list)
    size: int = 0
    is_partial: bool = False

    def payload(self) -> bytes:
        """What COPY reads."""
        return "".join(self.lines).encode()

    def digest(self, payload: bytes) -> bytes:
        """What tells whether a chunk sent again is the same one: its rows and its rejected lines."""
        rejected = ",".join(f"{line}:{error.code}" for line, error in self.errors)
        return hashlib.sha256(payload + rejected.encode()).digest()


class ChunkBuilder:
    """Collects rows; a chunk is full after so many rows or bytes."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._chunk = Chunk(number=0)

    def add(self, rows: Iterable[Row]) -> Iterator[Chunk]:
        """The chunks that these rows fill."""
        chunk = self._chunk
        for line, row in rows:
            if not chunk.first_line:
                chunk.first_line = line
            if isinstance(row, str):
                chunk.lines.append(row)
                chunk.size += len(row)
            else:
                chunk.errors.append((line, row))
            if (
                len(chunk.lines) >= self._most_rows
                or chunk.size >= self._most_bytes
                or len(chunk.errors) >= MOST_ERRORS
            ):
                self._chunk = Chunk(number=chunk.number + 1)
                yield chunk
                chunk = self._chunk

    def rest(self, is_partial: bool) -> Chunk | None:
        """The last chunk, which need not be full."""
        self._chunk.is_partial = is_partial
        return self._chunk if self._chunk.lines or self._chunk.errors else None
