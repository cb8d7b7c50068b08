"""Tells the person who waits what is going on and for how long. Standard library only: lab/bootstrap.py uses it too."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK_SECONDS = 20.0


def say(text: str) -> None:
    """Print one line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def heartbeat(
    still: Callable[[], str], tell: Callable[[str], None] = say, seconds: float | None = None
) -> Iterator[Callable[[], None]]:
    """While the block runs, tell after each silence of `seconds` how long it has lasted and what it is at.

    It yields a function to call whenever the person has heard something else: the silence begins anew.
    """
    pause = TICK_SECONDS if seconds is None else seconds
    begun = time.monotonic()
    heard_at, ended = [begun], threading.Event()

    def heard() -> None:
        heard_at[0] = time.monotonic()

    def beat() -> None:
        while not ended.wait(max(0.0, heard_at[0] + pause - time.monotonic())):
            if time.monotonic() >= heard_at[0] + pause:
                heard()
                tell(f"… {time.monotonic() - begun:.0f} s, still: {still()}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        thread.join()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, repeat its elapsed time while it runs long, and print what it took."""
    start = time.monotonic()
    say(f"  {text} …")
    try:
        with heartbeat(lambda: text, lambda line: say(f"    {line}")):
            yield
    except BaseException:
        say(f"  FAILED {text} ({time.monotonic() - start:.1f} s)")
        raise
    say(f"  done {text} ({time.monotonic() - start:.1f} s)")
