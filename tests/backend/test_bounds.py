"""Bounds: memory does not grow with the file, and a sender feels the pace of the database."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.backend.kit import feeds
from tests.backend.kit.processes import Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend.kit.processes import Backend

ROW = 2_000  # bytes: few rows, so that it is the bytes that count
GROWTH_MEBIBYTES = 25  # what chunks, buffers and the allocator may add, whatever the file's size


def wide_rows(megabytes: int) -> Iterator[bytes]:
    """A feed of long names, in pieces of about 200 kB."""
    yield feeds.HEADER.encode()
    name = "n" * (ROW - 40)
    for first in range(0, megabytes * 500, 100):
        yield "".join(f"S{number % 5000},{name},c,s,1,EUR,1,m\n" for number in range(first, first + 100)).encode()


def peak_mebibytes(process: Process) -> float:
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


@pytest.mark.timeout(600)
def test_memory_is_flat_while_files_grow(backend: Backend) -> None:
    processes = backend.start_api(), backend.start_worker()
    api = backend.client()
    peaks = []
    for megabytes in (3, 150):
        job = api.feed(wide_rows(megabytes))
        assert (job["state"], job["rows"]["imported"]) == ("succeeded", megabytes * 500)
        peaks.append([peak_mebibytes(process) for process in processes])
    for small, large in zip(*peaks, strict=True):
        assert large - small < GROWTH_MEBIBYTES, peaks


def test_a_sender_is_held_while_the_database_is(backend: Backend, dsn: str) -> None:
    backend.start_api()
    backend.start_worker()
    api, taken, jobs = backend.client(), [0], []

    def counted() -> Iterator[bytes]:
        for piece in wide_rows(60):
            taken[0] += len(piece)
            yield piece

    sender = threading.Thread(target=lambda: jobs.append(api.post(counted()).json()))
    with psycopg.connect(dsn) as conn:
        conn.execute("LOCK TABLE import_chunks IN EXCLUSIVE MODE")
        sender.start()
        wait_until(lambda: taken[0] > 1_000_000, "the upload has begun")
        held = wait_until(lambda: stands_still(taken), "the sender is held")
        assert held < 24_000_000, "what the sockets and two chunks hold, not the file"
    sender.join(120)
    job = api.ended(jobs[0]["id"])
    assert (job["state"], job["rows"]["received"]) == ("succeeded", 30_000)


def stands_still(taken: list[int]) -> int:
    """How much was taken, if nothing more is taken for a second and a half."""
    before = taken[0]
    time.sleep(1.5)
    return before if taken[0] == before else 0
