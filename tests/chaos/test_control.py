"""The harness itself, on a real cut: without synchronous replication it has to find what the cut-off primary lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chaos.run import execute
from tests.chaos.scenarios import SCENARIOS

if TYPE_CHECKING:
    from tests.chaos.site import Site

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

BUILD = Path(__file__).resolve().parents[2] / "build" / "chaos" / "controls" / "tested"


def test_a_run_without_synchronous_replication_does_not_pass(site: Site) -> None:
    result = execute(SCENARIOS["control-asynchronous"], site, BUILD)
    assert result["trouble"] == ""
    rows = {(row["service"], row["client"]): row for row in result["rows"]}
    held = rows["postgres", "held"]
    assert held["lost_acked"] > 0, "what a client inside the cut was told is gone"
    assert held["isolated_ack_s"] > 0
    assert not held["passed"]
    assert not held["promises_kept"]
    # Nothing else was weakened.
    assert [rows["rabbitmq", client]["lost_acked"] for client in ("held", "reconnecting")] == [0, 0]
    change = site.stack()["spec"]["postgres"]["synchronousReplication"]
    assert change == "Preferred", "it is taken back"
