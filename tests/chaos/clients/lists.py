"""Which list an element goes to, and which one a reader asks for: by the clock that all clients share. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK_SECONDS = 0.1  # the rhythm of a writer
LIST_LENGTH = 100  # ticks; then a new list is begun, or appending would grow slow


def number_at(now: float) -> int:
    """The element that is written at this time.

    A count would tell a reader nothing: attempts that fail use up numbers, so it would wait in an old list for an
    element that never came, and check nothing that was written since.
    """
    return int(now / TICK_SECONDS)


class Numbers:
    """The numbers of one writer."""

    def __init__(self) -> None:
        self._last = -1

    def next(self, now: float) -> int:
        """The number of now; never one twice, as where a writer was held up and two of its steps come close."""
        self._last = max(self._last + 1, number_at(now))
        return self._last


def list_of(number: int) -> int:
    """The list that an element goes to."""
    return number // LIST_LENGTH


class Shown:
    """The lists in which one reader was shown something, by their writers."""

    def __init__(self) -> None:
        self._lists: dict[str, set[int]] = defaultdict(set)

    def note(self, client: str, elements: Sequence[int]) -> None:
        """Remember a list that has elements."""
        if elements:
            self._lists[client].add(list_of(elements[-1]))

    def next(self, client: str, number: int, look: int) -> int:
        """In turn: the list of now, whatever the server knows of it, and the newest one before it that was shown.

        Who is cut off never learns that a list was begun; and while nobody writes, the list of now tells nothing.
        """
        newest = list_of(number)
        return max((each for each in self._lists[client] if each < newest), default=newest) if look % 2 else newest
