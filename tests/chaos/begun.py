"""The trace of a repeat from its begin on: one that never ended has no result, and must not be dropped in silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.chaos.scorecard import mark_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from tests.chaos.scorecard import Run

Begun = dict[str, Any]


class Trace:
    """What is known of a repeat so far: a file beside its directory, which the next repeat of the fault empties."""

    def __init__(self, directory: Path, scenario: str, began: datetime, commit: str) -> None:
        """Write it: whatever ends the repeat from now on, that it began is known."""
        self.about = {"scenario": scenario, "date": began.isoformat(timespec="seconds"), "commit": commit}
        self._path = directory.with_name(f"begun-{directory.name}-{began:%Y%m%dT%H%M%S}.json")
        self._known: Begun = {"images": {}, "struck": False, "why": ""}
        self.note()

    def note(self, **more: Any) -> None:
        """Write down what is known by now."""
        self._known |= more
        write_whole(self._path, json.dumps(self.about | self._known) + "\n")

    def end(self) -> None:
        """The result is kept, and tells more."""
        self._path.unlink()


def write_whole(path: Path, text: str) -> None:
    """Whoever is killed in the middle of it leaves what was there before."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def unended(folder: Path, runs: Iterable[Run]) -> list[Begun]:
    """The repeats in a folder that have begun and are none of these, which have ended."""
    return beside([], [json.loads(path.read_text()) for path in folder.glob("*/begun-*.json")], runs)


def beside(before: Iterable[Begun], fresh: Iterable[Begun], runs: Iterable[Run]) -> list[Begun]:
    """All that began and did not end, each once, in the order of time: those published before, and fresh ones."""
    ended = {key_of(run) for run in runs}
    every = {key_of(each): {**each, "images": mark_of(each)} for each in (*before, *fresh)}
    return sorted((each for key, each in every.items() if key not in ended), key=lambda each: str(each["date"]))


def key_of(each: Begun) -> tuple[str, str]:
    return each["scenario"], each["date"]


def in_words(each: Begun) -> str:
    """node-cut of 2026-12-01T02:46, whose strike had begun: interrupted."""
    when = "whose strike had begun" if each["struck"] else "before its strike"
    why = each["why"] or "killed, or still under way"
    return f"{each['scenario']} of {each['date'][:16]}, {when}: {why}"


def in_short(found: Iterable[Begun]) -> str:
    """A sentence for the page; empty where every repeat has ended."""
    each = [f"{one['scenario']} ({one['date'][:10]}{'' if one['struck'] else ', not struck yet'})" for one in found]
    if not each:
        return ""
    return f" Begun, not ended, and none of the figures ([why](scorecard-broken.json)): {', '.join(each)}."
