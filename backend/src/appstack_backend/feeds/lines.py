"""Bytes to numbered lines of text, with a limit on the length of a line."""

from appstack_backend.errors import ImportEncodingInvalid, ImportLineTooLong, RowError

BOM = b"\xef\xbb\xbf"


class LineSplitter:
    """Cuts a stream into lines. Holds at most one line and one piece; a flawed line keeps its number."""

    def __init__(self, max_line_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self.lines_seen = 0
        self.flaws: dict[int, RowError] = {}  # by line number; whoever reads the line takes them out
        self._tail = b""
        self._is_skipping = False
        self._is_start = True

    def feed(self, piece: bytes) -> list[str]:
        """The lines that this piece completes, without their line ends."""
        data = self._tail + piece
        if self._is_start:
            if len(data) < len(BOM) and BOM.startswith(data):
                self._tail = data
                return []
            data, self._is_start = data.removeprefix(BOM), False
        end = data.rfind(b"\n")
        self._tail = data[end + 1 :]
        lines = self._decode(data[:end]) if end >= 0 else []
        if len(self._tail) > self.max_line_bytes:
            # Too long whatever follows: remember that, not the bytes.
            self._tail, self._is_skipping = b"", True
        return lines

    def close(self) -> list[str]:
        """The last line, if the stream did not end with a line end."""
        tail, self._tail = self._tail, b""
        return self._decode(tail) if tail or self._is_skipping else []

    def _decode(self, block: bytes) -> list[str]:
        first = self.lines_seen + 1
        try:
            lines = block.decode().split("\n")
        except UnicodeDecodeError:
            lines = self._decode_each(block, first)
        if self._is_skipping:
            self.flaws[first] = self._too_long()
            lines[0], self._is_skipping = "", False
        if len(block) > self.max_line_bytes:  # else no line in it can be too long
            for number, line in enumerate(lines, first):
                # A character has at most four bytes: most lines need no second look.
                if len(line) * 4 > self.max_line_bytes and len(line.encode()) > self.max_line_bytes:
                    self.flaws[number] = self._too_long()
                    lines[number - first] = ""
        self.lines_seen += len(lines)
        return lines

    def _decode_each(self, block: bytes, first: int) -> list[str]:
        lines = []
        for number, line in enumerate(block.split(b"\n"), first):
            if len(line) > self.max_line_bytes:  # whatever else is wrong with it, and in whatever pieces it came
                self.flaws[number] = self._too_long()
                lines.append("")
                continue
            try:
                lines.append(line.decode())
            except UnicodeDecodeError as error:
                self.flaws[number] = ImportEncodingInvalid(f"byte {error.start + 1} of the line is not UTF-8")
                lines.append("")
        return lines

    def _too_long(self) -> RowError:
        return ImportLineTooLong(f"the line is longer than {self.max_line_bytes} bytes")
