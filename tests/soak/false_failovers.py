"""A soak, started by hand: heavy load, paused and slow members; does anybody take a healthy primary for a lost one?

`python tests/soak/false_failovers.py NAMESPACE STACK MINUTES` (KUBECONFIG names the cluster). In turn it freezes a
member's agent and Patroni for less than the patience of the others, burns the processors of the primary's pod, and
writes bulk rows; it prints what the lock did, and ends with 1 if the lock changed hands.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time

PAUSE_SECONDS, BURN_SECONDS = 2.0, 20
BULK = """
    CREATE TABLE IF NOT EXISTS soak (t text);
    INSERT INTO soak SELECT repeat(md5(i::text), 30) FROM generate_series(1, 60000) i;
    TRUNCATE soak;
"""
BURN = f"""
import os, time
[os.fork() for _ in range(4)]
end = time.time() + {BURN_SECONDS}
while time.time() < end: pass
"""


def kubectl(*words: str) -> str:
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> int:
    namespace, stack, minutes = sys.argv[1], sys.argv[2], float(sys.argv[3])
    until, seen = time.monotonic() + 60 * minutes, lock(namespace, stack)
    print(f"begins with {seen}", flush=True)
    for turn in itertools.count():
        if time.monotonic() > until:
            break
        primary = seen[0]
        members = kubectl("get", "pods", "-n", namespace, "-l", f"appstack.dev/patroni={stack}-postgres", "-o", "name")
        pod = members.split()[turn % len(members.split())].removeprefix("pod/")
        stir(namespace, primary, pod, turn % 3)
        now = lock(namespace, stack)
        if now != seen:
            print(f"turn {turn}: the lock went from {seen} to {now}", flush=True)
            return 1
    print(f"{turn} turns in {minutes:g} minutes: the lock stayed with {seen}")
    return 0


def lock(namespace: str, stack: str) -> tuple[str, str]:
    """Who holds the lock, and how often it has changed hands."""
    found = json.loads(kubectl("get", "configmap", f"{stack}-postgres-leader", "-n", namespace, "-o", "json"))
    notes = found["metadata"]["annotations"]
    return notes.get("leader", ""), notes.get("transitions", "")


def stir(namespace: str, primary: str, pod: str, kind: int) -> None:
    """One nuisance."""
    enter = ["exec", "-n", namespace]
    if kind == 0:
        freeze = f"kill -STOP -1; sleep {PAUSE_SECONDS}; kill -CONT -1"
        kubectl(*enter, pod, "--", "sh", "-c", freeze)
    elif kind == 1:
        kubectl(*enter, primary, "--", "python3", "-c", BURN)
    else:
        sql = ["psql", "-qX", "-h", "/run/postgresql", "-d", "postgres", "-c", BULK]
        kubectl(*enter, primary, "--", *sql)
    time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
