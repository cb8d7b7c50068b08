"""Long work tells that it still runs: not too often, and not right after it told something else."""

from __future__ import annotations

import re
import threading
import time

from appstack_lab.progress import heartbeat


def test_after_a_silence_it_tells_the_time_and_what_it_is_at() -> None:
    told: list[str] = []
    heard = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        heard.set()

    with heartbeat(lambda: "PostgresReady: Creating (shop-postgres-1)", tell, seconds=0.05):
        assert heard.wait(60)
    assert re.match(r"… \d+ s, still: PostgresReady: Creating \(shop-postgres-1\)", told[0])


def test_quick_work_says_nothing() -> None:
    told: list[str] = []
    with heartbeat(lambda: "?", told.append, seconds=60):
        pass
    assert told == []


def test_the_silence_begins_anew_whenever_something_else_is_told() -> None:
    told: list[str] = []
    with heartbeat(lambda: "?", told.append, seconds=10) as heard:
        begun = time.monotonic()
        heard()
        while time.monotonic() < begun + 0.3:
            heard()
    assert told == []


def test_it_ends_with_the_block_also_when_that_fails() -> None:
    before = set(threading.enumerate())
    try:
        with heartbeat(lambda: "?", seconds=60):
            raise ValueError
    except ValueError:
        pass
    assert set(threading.enumerate()) <= before
