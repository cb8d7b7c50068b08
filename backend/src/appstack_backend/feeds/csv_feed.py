"""CSV with a header line: rows one by one, each with the line that it starts on."""

import csv
from collections.abc import Callable, Iterator
from operator import itemgetter

from appstack_backend.errors import (
    ImportColumnMissing,
    ImportHeaderInvalid,
    ImportLineTooLong,
    ImportRowMalformed,
    RowError,
)
from appstack_backend.feeds.lines import LineSplitter
from appstack_backend.feeds.rows import COLUMNS, DEFAULT_WAREHOUSE, REQUIRED, copy_line

Row = tuple[int, str | RowError]  # the line, and what COPY reads or why not


class NeedsMoreLines(Exception):
    """A quoted value goes on behind the lines at hand."""


class CsvFeed:
    """Reads CSV incrementally. A line without quotes is split; only quotes need a real CSV reader."""

    def __init__(self, max_line_bytes: int) -> None:
        self._splitter = LineSplitter(max_line_bytes)
        self._max_record = max_line_bytes
        self._lines: list[str] = []  # not read yet: the beginning of a record that goes on
        self._next_line = 1
        # Up to this line a value may not go on behind its line. A quote that never closes is looked for far ahead; were
        # every line behind it allowed to do the same, a small file of such lines would take hours.
        self._alone_until = 0
        self._width = 0
        self._pick: Callable[[list[str]], tuple[str, ...]] | None = None  # to the order of COLUMNS, where it differs

    def feed(self, piece: bytes) -> Iterator[Row]:
        """The rows that this piece completes. Raises ImportHeaderInvalid."""
        self._lines += self._splitter.feed(piece)
        yield from self._rows(is_end=False)

    def close(self) -> Iterator[Row]:
        """The rows of what is left, when the stream ended where it should."""
        self._lines += self._splitter.close()
        yield from self._rows(is_end=True)
        if not self._width:
            raise ImportHeaderInvalid("the file is empty; its first line must name the columns")

    def _rows(self, is_end: bool) -> Iterator[Row]:
        lines, flaws, first = self._lines, self._splitter.flaws, self._next_line
        width, pick = self._width, self._pick
        index = 0
        if lines and not width:
            self._read_header(lines[0])
            width, pick, index = self._width, self._pick, 1
        try:
            while index < len(lines):
                number, line = first + index, lines[index]
                if flaws and number in flaws:
                    index += 1
                    yield number, flaws.pop(number)
                    continue
                if '"' not in line:
                    index += 1
                    if not line or line == "\r":
                        continue
                    fields = line.split(",")
                else:
                    try:
                        fields, index = self._read_quoted(lines, index, is_end)
                    except RowError as error:
                        # Go on with the next line: a quote that was never closed costs one row, not all.
                        index += 1
                        yield number, error
                        continue
                if len(fields) != width:
                    yield number, self._wrong_width(len(fields))
                    continue
                try:
                    text = copy_line(number, pick([*fields, "", DEFAULT_WAREHOUSE]) if pick else fields)
                except RowError as error:
                    yield number, error
                else:
                    yield number, text
        except NeedsMoreLines:
            pass
        finally:
            self._lines, self._next_line = lines[index:], first + index

    def _read_quoted(self, lines: list[str], index: int, is_end: bool) -> tuple[list[str], int]:
        """The record that starts at lines[index], and the index behind it."""
        used = size = 0

        def record_lines() -> Iterator[str]:
            nonlocal used, size
            while index + used < len(lines):
                line = lines[index + used]
                used += 1
                size += len(line) + 1
                if size > self._max_record and used > 1:
                    raise ImportLineTooLong(f"a quoted value goes on for more than {self._max_record} bytes")
                if used > 1 and self._next_line + index < self._alone_until:
                    raise ImportRowMalformed("a quoted value goes on, close behind one that never ended")
                if used > 1 and self._next_line + index + used - 1 in self._splitter.flaws:
                    raise ImportRowMalformed("a quoted value runs into a line that cannot be read")
                yield line + "\n"
            if not is_end:
                raise NeedsMoreLines

        try:
            fields = next(csv.reader(record_lines(), strict=True))
        except (csv.Error, RowError) as error:
            self._alone_until = max(self._alone_until, self._next_line + index + used)
            raise (error if isinstance(error, RowError) else ImportRowMalformed(f"not CSV: {error}")) from None
        return fields, index + used

    def _read_header(self, line: str) -> None:
        if 1 in self._splitter.flaws:
            raise ImportHeaderInvalid(self._splitter.flaws[1].detail)
        try:
            names = [name.strip().lower() for name in next(csv.reader([line]), [])]
        except csv.Error:
            names = []
        missing = [column for column in REQUIRED if column not in names]
        if missing:
            raise ImportHeaderInvalid(f"the header lacks {', '.join(missing)}")
        doubled = sorted(column for column in COLUMNS if names.count(column) > 1)
        if doubled:
            raise ImportHeaderInvalid(f"the header names {', '.join(doubled)} twice")
        self._width = len(names)
        if tuple(names) != COLUMNS:  # unknown columns are left out, absent optional ones are empty
            absent = {"warehouse": len(names) + 1}
            self._pick = itemgetter(*(names.index(c) if c in names else absent.get(c, len(names)) for c in COLUMNS))

    def _wrong_width(self, count: int) -> RowError:
        if count < self._width:
            return ImportColumnMissing(f"the line has {count} of {self._width} columns")
        return ImportRowMalformed(f"the line has {count} values for {self._width} columns")
