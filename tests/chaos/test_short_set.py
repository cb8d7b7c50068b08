"""Five faults of the scorecard under its whole load: nothing acknowledged is lost, everybody is served again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.measure import OLD_INSIDE
from tests.chaos.run import execute
from tests.chaos.scenarios import SCENARIOS

if TYPE_CHECKING:
    from tests.chaos.site import Site

pytestmark = pytest.mark.timeout(900)

BUILD = Path(__file__).resolve().parents[2] / "build" / "chaos" / "short"
# A busy machine is slower; the aims themselves are the scorecard's. A killed primary whose lock has to expire costs
# 23 s, a deleted Redis that hands nothing over 17 s.
HANG_FACTOR, SHORTEST_AIM_SECONDS = 5, 3.0
NODE_CUT_SECONDS = 20.0
LATE_STALE_SECONDS = NODE_CUT_SECONDS - 2  # one that never demotes itself shows old rows to the end of the cut
# A demoted primary that never stops, or nodes of RabbitMQ that stay apart, took 170 s, or for ever.
WHOLE_SECONDS = 100.0

SHORT: dict[str, dict[str, Any]] = {
    "postgres-primary-sigkill": {"watch_seconds": 8.0},
    "redis-master-deleted": {"watch_seconds": 8.0},
    "rabbitmq-leader-no-grace": {"watch_seconds": 8.0},
    "api-pod-no-grace": {"watch_seconds": 15.0},  # nobody's gap shows it: the operator must have had the time to say so
    "node-cut": {"hold_seconds": NODE_CUT_SECONDS, "watch_seconds": NODE_CUT_SECONDS + 5},
}


def is_excused(row: dict[str, Any]) -> bool:
    """Whether this is what an asynchronous Redis may lose of the moment of the fault; the harness has looked when."""
    return bool(row["service"] == "redis" and row["promises_kept"])


def is_of_a_busy_machine(finding: str, row: dict[str, Any]) -> bool:
    """Whether the scorecard fails its row for that, and a busy machine may do it as well.

    One read of the API that was older than a change whose note did not reach Redis in time (docs/backend.md); or a
    cut-off primary that demoted itself late, though it did.
    """
    if finding.startswith(f"{OLD_INSIDE} "):
        return bool(row["isolated_stale_s"] < LATE_STALE_SECONDS)
    return finding.startswith("stale CHAOS-REGISTER")


@pytest.mark.parametrize("name", SHORT)
def test_nothing_acknowledged_is_lost_and_everybody_is_served_again(site: Site, name: str) -> None:
    result = execute(replace(SCENARIOS[name], **SHORT[name]), site, BUILD / name)
    assert len(result["rows"]) == 8
    if name == "node-cut":  # by the standby's agent, and not 22 s later because the lock expired: whatever the machine
        assert f" takes over from {result['victim']}, " in result["early_failover"]
    for row in result["rows"]:
        who = (row["service"], row["client"])
        assert (row["lost_acked"], row["duplicated"]) == (0, 0) or is_excused(row), (who, row["other_findings"])
        assert [found for found in row["other_findings"] if not is_of_a_busy_machine(found, row)] == [], who
        assert row["recovered_s"] is not None, row["conditions"]
        assert row["recovered_s"] < WHOLE_SECONDS, (who, row["conditions"])
        if row["write_gap_s"] is not None:
            assert row["write_gap_s"] < HANG_FACTOR * max(row["aim"]["write_gap_s"], SHORTEST_AIM_SECONDS), who
        if row["service"] == "api" and name != "node-cut":  # there a held reader waits out its 10 s at a lost pod
            assert row["read_gap_s"] < HANG_FACTOR * max(row["aim"]["read_gap_s"], SHORTEST_AIM_SECONDS), who
        # Only a node that is cut off has clients inside; their old primary must have acknowledged nothing.
        if row["service"] == "postgres" and row["client"] == "held":
            assert row["isolated_ack_s"] == (0.0 if name == "node-cut" else None)
