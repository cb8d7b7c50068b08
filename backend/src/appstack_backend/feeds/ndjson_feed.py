"""NDJSON: one JSON object a line, with the names of the CSV's columns."""

from collections.abc import Iterator
from typing import Any

import msgspec

from appstack_backend.errors import ImportRowInvalid, ImportRowMalformed, RowError
from appstack_backend.feeds.csv_feed import Row
from appstack_backend.feeds.lines import LineSplitter
from appstack_backend.feeds.rows import COLUMNS, DEFAULT_WAREHOUSE, copy_line

decode = msgspec.json.Decoder().decode
ABSENT = {"warehouse": DEFAULT_WAREHOUSE}


class NdjsonFeed:
    """Reads NDJSON incrementally."""

    def __init__(self, max_line_bytes: int) -> None:
        self._splitter = LineSplitter(max_line_bytes)

    def feed(self, piece: bytes) -> Iterator[Row]:
        """The rows that this piece completes."""
        first = self._splitter.lines_seen + 1
        return self._rows(first, self._splitter.feed(piece))

    def close(self) -> Iterator[Row]:
        """The row of a last line without a line end."""
        first = self._splitter.lines_seen + 1
        return self._rows(first, self._splitter.close())

    def _rows(self, first: int, lines: list[str]) -> Iterator[Row]:
        flaws = self._splitter.flaws
        for number, line in enumerate(lines, first):
            if flaws and number in flaws:
                yield number, flaws.pop(number)
            elif line and not line.isspace():
                try:
                    yield number, copy_line(number, values(line))
                except RowError as error:
                    yield number, error


def values(line: str) -> list[str]:
    """The values of one object in the order of COLUMNS; what is absent is empty, or the default. Raises RowError."""
    try:
        row = decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ImportRowMalformed("the line is not JSON") from None
    if not isinstance(row, dict):
        raise ImportRowMalformed("the line is not a JSON object")
    return [text(column, row.get(column, ABSENT.get(column))) for column in COLUMNS]


def text(column: str, value: Any) -> str:
    """A JSON value as the CSV would have it: numbers as they are written, null as empty."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ImportRowInvalid(f"{column} is neither a string nor a number")
