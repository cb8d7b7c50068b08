"""Five faults of the scorecard under its whole load: nothing acknowledged is lost, everybody is served again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.run import execute
from tests.chaos.scenarios import SCENARIOS

if TYPE_CHECKING:
    from tests.chaos.site import Site

# Not in `make test` yet: both of its runs had rows that failed (docs/status.md).
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

BUILD = Path(__file__).resolve().parents[2] / "build" / "chaos" / "short"
HANG_FACTOR = 5  # a busy machine is slower; the aims themselves are the scorecard's
NODE_CUT_SECONDS = 20.0

SHORT: dict[str, dict[str, Any]] = {
    "postgres-primary-sigkill": {"watch_seconds": 8.0},
    "redis-master-deleted": {"watch_seconds": 8.0},
    "rabbitmq-leader-no-grace": {"watch_seconds": 8.0},
    "api-pod-no-grace": {"watch_seconds": 5.0},
    "node-cut": {"hold_seconds": NODE_CUT_SECONDS, "watch_seconds": NODE_CUT_SECONDS + 5},
}


@pytest.mark.parametrize("name", SHORT)
def test_nothing_acknowledged_is_lost_and_everybody_is_served_again(site: Site, name: str) -> None:
    result = execute(replace(SCENARIOS[name], **SHORT[name]), site, BUILD / name)
    assert len(result["rows"]) == 8
    for row in result["rows"]:
        who = (row["service"], row["client"])
        assert row["promises_kept"], (who, row["lost_acked"], row["duplicated"], row["other_findings"])
        if row["write_gap_s"] is not None:
            assert row["write_gap_s"] < HANG_FACTOR * max(row["aim"]["write_gap_s"], 8.0), who
        # Only a node that is cut off has clients inside; their old primary must have acknowledged nothing.
        if row["service"] == "postgres" and row["client"] == "held":
            assert row["isolated_ack_s"] == (0.0 if name == "node-cut" else None)
