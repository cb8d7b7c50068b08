"""Text for terminals: colours where one reads them, trees, columns. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """What others wrote (a crashed program's last words, a manifest) without what would move a terminal's cursor."""
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


class Tone(Enum):
    """How a word is meant; the value is its colour."""

    PLAIN = ""
    GOOD = "32"
    BAD = "31"
    CARE = "33"
    FAINT = "2"
    STRONG = "1"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours words, or leaves them."""

    has_colours: bool = False

    def paint(self, text: str, tone: Tone) -> str:
        """The text in its tone."""
        return f"\033[{tone.value}m{text}\033[0m" if self.has_colours and tone.value else text


@dataclass(frozen=True, slots=True)
class Node:
    """One line of a tree and what hangs below it."""

    text: str
    children: list["Node"] = field(default_factory=list)


def draw(node: Node) -> Iterator[str]:
    """A tree, line by line."""
    yield node.text
    yield from branches(node.children, "")


def branches(nodes: Sequence[Node], indent: str) -> Iterator[str]:
    """The lines below a line."""
    for position, node in enumerate(nodes):
        is_last = position == len(nodes) - 1
        yield f"{indent}{'└─' if is_last else '├─'} {node.text}"
        yield from branches(node.children, f"{indent}{'   ' if is_last else '│  '}")


def age_of(stamp: str | None, now: datetime) -> str:
    """How long ago, as kubectl writes it: 45s, 12m, 3h, 4d."""
    if not stamp:
        return "?"
    seconds = max(0, int((now - datetime.fromisoformat(stamp)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
