"""Which bytes of a file a request asks for (RFC 9110, 14). Pure."""

import re
from dataclasses import dataclass

from appstack_backend.errors import RangeNotSatisfiable

# One range, from a first byte or of so many last ones. No file has as many bytes as a longer number says.
ONE_RANGE = re.compile(r"bytes=[\t ,]*(\d{1,18})?-(\d{1,18})?[\t ,]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a file, by the first one and the one behind the last."""

    first: int
    end: int

    def content_range(self, size: int) -> str:
        """The header that tells which bytes of the file these are."""
        return f"bytes {self.first}-{self.end - 1}/{size}"


def asked(given: str | None, size: int) -> Range | None:
    """The part of a file of that size; None: all of it, also where several parts are asked for, or what is no range.

    An empty file has no part that could be told. Raises RangeNotSatisfiable where the file has no such bytes.
    """
    match = ONE_RANGE.fullmatch(given) if given and size else None
    if match is None or match[1] == match[2] is None:
        return None
    if match[1] is None:
        first, end = max(size - int(match[2]), 0), size
    else:
        first, end = int(match[1]), size if match[2] is None else min(int(match[2]) + 1, size)
        if match[2] is not None and int(match[2]) < first:
            return None
    if first >= size:
        raise RangeNotSatisfiable(f"the file has {size} bytes", headers={"content-range": f"bytes */{size}"})
    return Range(first, end)
