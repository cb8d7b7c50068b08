"""Runs as the harness leaves them."""

from __future__ import annotations

from typing import Any

from tests.chaos.measure import Marks
from tests.chaos.watch import Change


def a_run(gap: float, date: str, **changes: Any) -> dict[str, Any]:
    figures = {
        "fault": "server process SIGKILLed",
        "role": "primary",
        "operator": "alive",
        "write_gap_s": gap,
        "read_gap_s": 0.1,
        "failed_requests": 2,
        "slow_requests": 1,
        "lost_acked": 0,
        "duplicated": 0,
        "isolated_ack_s": None,
        "recovered_s": 9.0,
        "conditions": [[0.0, "Ready", "True", "Healthy"]],
        "other_findings": [],
        "promises_kept": True,
        "passed": gap <= 4,
        "aim": {"write_gap_s": 4.0, "lost_acked": 0.0},
        **changes,
    }
    kinds = [(service, client) for service in ("postgres", "api") for client in ("held", "reconnecting")]
    rows = [{**figures, "service": service, "client": client} for service, client in kinds]
    return {
        "scenario": "postgres-primary-sigkill",
        "date": date,
        "load_average": 3.0,
        "rows": rows,
        "victim": "shop-postgres-0",
        "node": "node1",
        "mended_s": None,
        "ended_s": 20.0,
        "roles": [[2.0, "primary", "shop-postgres-1"], [2.1, "master", "nobody"]],
        "timelines": {"postgres": [[-4.75, 40.0, 0.0], [0.25, 0.0, 6.0], [3.25, 40.0, 0.0]], "api": [[0.25, 1, 0]]},
    }


RUNS = [a_run(3.0, "2026-11-24T10:00"), a_run(9.0, "2026-11-24T11:00"), a_run(3.5, "2026-11-24T12:00")]
OLD, NEW = {"commit": "0ld", "images": {"redis": "r:1"}}, {"commit": "n3w", "images": {"redis": "r:2"}}


def without(found: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in keys}


MARKS = Marks(told=100.0, struck=100.2, mended=None, ended=130.0)
# A stack that was whole, and is again 20 s after a fault at 100.
CHANGES = [
    Change(90, "HighlyAvailable", "True", "Healthy"),
    Change(91, "primary", "shop-postgres-0", "role"),
    Change(104, "HighlyAvailable", "False", "NoPrimary"),
    Change(106, "primary", "shop-postgres-1", "role"),
    Change(120, "HighlyAvailable", "True", "Healthy"),
]
