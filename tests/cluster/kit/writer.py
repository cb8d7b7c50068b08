"""Writes rows through a stack's own DATABASE_URL, from inside one of its pods, and tells how long nobody answered."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

# Runs where the backend runs: its image has psycopg, its environment the address. Ends when its input does.
SCRIPT = """
import json, os, select, sys, time
import psycopg

TABLE = "CREATE TABLE IF NOT EXISTS writer_rows (run text, number int, PRIMARY KEY (run, number))"
url, run, conn = os.environ["DATABASE_URL"], sys.argv[1], None
acknowledged, failed, last, gap = [], 0, None, 0.0
number = 0
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    try:
        if conn is None:
            conn = psycopg.connect(url, connect_timeout=2, autocommit=True)
            notices = []
            conn.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        if last is None:
            conn.execute(TABLE)
        del notices[:]
        conn.execute("INSERT INTO writer_rows VALUES (%s, %s)", (run, number))
        if notices:
            raise psycopg.OperationalError(notices[0])  # committed on the primary alone: nobody was promised anything
    except psycopg.Error:
        failed += 1
        if conn is not None:
            conn.close()
        conn = None
        time.sleep(0.02)
        continue
    now = time.monotonic()
    if last is not None:
        gap = max(gap, now - last)
    acknowledged.append(number)
    last = now
    time.sleep(0.02)
gap = max(gap, time.monotonic() - last)
deadline = time.monotonic() + 60
while True:
    try:
        with psycopg.connect(url, connect_timeout=2) as reader:
            rows = reader.execute("SELECT number FROM writer_rows WHERE run = %s", (run,)).fetchall()
        break
    except psycopg.Error:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.2)
lost = sorted(set(acknowledged) - {row[0] for row in rows})
print(json.dumps({"acknowledged": len(acknowledged), "failed": failed, "gap_s": round(gap, 2), "lost": lost}))
"""


@dataclass
class Report:
    """What a writer saw; filled in when it has ended."""

    acknowledged: int = 0
    failed: int = 0
    gap_s: float = 0.0
    lost: tuple[int, ...] = ()


@contextmanager
def writing(shop: Stack, kube: Kube, run: str) -> Iterator[Report]:
    """Rows are written, fifty a second at most, while the block runs; the report tells afterwards."""
    pod = shop.newest_ready_pod("api")
    command = [kube.kubectl_path, "exec", "-i", pod, "-n", shop.namespace, "--", "python3", "-c", SCRIPT, run]
    report = Report()
    with subprocess.Popen(
        command, env=kube.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdin is not None
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begun\n"
            yield report
            said, complaint = writer.communicate("\n", timeout=120)
        finally:
            writer.kill()
    assert writer.returncode == 0, complaint
    seen = json.loads(said)
    report.acknowledged, report.failed, report.gap_s = seen["acknowledged"], seen["failed"], seen["gap_s"]
    report.lost = tuple(seen["lost"])
    print(f"{run}: {report}")
