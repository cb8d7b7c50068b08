"""Writes a client's history while it runs, and ends it on SIGTERM between two operations."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from tests.chaos.history import Action, Operation, Outcome, Value, to_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AFTER_FAILURE_SECONDS = 0.05
DETAIL_CHARACTERS = 160

# What an attempt says: the value, its outcome, and the error in words.
Result = tuple[Value, Outcome, str]


class Recorder:
    """The history file of one client."""

    def __init__(self, client: str, path: Path) -> None:
        """Open the file anew; SIGTERM and SIGINT ask the client to end."""
        self.client, self.path = client, path
        self.stop = threading.Event()
        self._lock = threading.Lock()  # one line after the other, whichever thread writes it
        self._file = path.open("w", buffering=1)  # line by line: a killed client leaves whole lines
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=self.stop.set).start())

    def note(
        self, action: Action, key: str, value: Value, start: float, outcome: Outcome, detail: str = "", server: str = ""
    ) -> None:
        """Write down an operation that ends now."""
        end = time.monotonic()
        words = " ".join(detail.split())[:DETAIL_CHARACTERS]
        line = to_line(Operation(self.client, action, key, value, start, end, outcome, words, server))
        with self._lock:
            self._file.write(line + "\n")

    def attempt(
        self, action: Action, key: str, work: Callable[[], Result], answered_by: Callable[[], str] = lambda: ""
    ) -> bool:
        """Do one operation and write it down; whether it was acknowledged. What is in doubt is UNKNOWN.

        `answered_by` is asked afterwards.
        """
        start = time.monotonic()
        value, outcome, detail = work()
        self.note(action, key, value, start, outcome, detail, answered_by())
        return outcome is Outcome.OK

    def every(self, seconds: float, step: Callable[[int], bool]) -> None:
        """Call `step` with 0, 1, 2, … in this rhythm until the end, with a pause after each failure."""
        number = 0
        while not self.stop.is_set():
            due = time.monotonic() + seconds
            good = step(number)
            number += 1
            self.stop.wait(max(due - time.monotonic(), 0.0 if good else AFTER_FAILURE_SECONDS))

    def side_by_side(self, seconds: float, *steps: Callable[[int], bool]) -> None:
        """Call each step as `every` does: one that waits for an answer holds up no other. One that raises ends all."""
        with ThreadPoolExecutor(len(steps)) as pool:
            running = [pool.submit(self.every, seconds, step) for step in steps]
            wait(running, return_when=FIRST_COMPLETED)
            self.stop.set()
        for each in running:
            each.result()
