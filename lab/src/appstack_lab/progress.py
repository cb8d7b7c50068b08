"""Tells the person who waits what is going on and for how long; on standard error."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK_SECONDS = 20.0


def say(text: str) -> None:
    """Print one line of progress."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, repeat its elapsed time while it runs long, and print what it took."""
    start = time.monotonic()
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(TICK_SECONDS):
            say(f"    … {text}: {time.monotonic() - start:.0f} s")

    say(f"  {text} …")
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    except BaseException:
        say(f"  FAILED {text} ({time.monotonic() - start:.1f} s)")
        raise
    finally:
        ended.set()
        ticker.join()
    say(f"  done {text} ({time.monotonic() - start:.1f} s)")
