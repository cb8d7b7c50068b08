"""What the operator tells about itself: every metric is documented, conditions come and go with their stack."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from appstack_operator import daemons, metrics
from appstack_operator.daemons import Daemons
from appstack_operator.health import Health
from appstack_operator.turns import Turns

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "operator.md").read_text()


def value(condition: str) -> float | None:
    labels = {"namespace": "shop", "stack": "shop", "condition": condition}
    return REGISTRY.get_sample_value("appstack_condition", labels)


def test_every_metric_is_documented() -> None:
    kept = [each for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)]
    names = {family.name for each in kept for family in each.describe()}
    assert len(names) > 8
    assert [name for name in sorted(names) if f"`{name}" not in PAGE] == []


def test_conditions_are_shown_and_taken_back() -> None:
    metrics.show_conditions("shop", "shop", {"Ready": "True", "Stalled": "True"})
    assert (value("Ready"), value("Stalled")) == (1, 1)
    metrics.show_conditions("shop", "shop", {"Ready": "False"})
    assert (value("Ready"), value("Stalled")) == (0, None)
    metrics.show_conditions("shop", "shop", {})
    assert value("Ready") is None


async def test_who_waits_for_a_turn_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = asyncio.Semaphore(0), asyncio.Event()

    async def one_pass(*_: object) -> None:
        begun.release()
        await may_end.wait()

    monkeypatch.setattr(daemons, "run_pass", one_pass)
    kept = Daemons(cast("Any", SimpleNamespace(turns=Turns(2), looks={})), Health())
    for number in range(5):
        kept.see("shop", f"stack-{number}", 1)
    async with asyncio.timeout(60):
        for _ in range(2):
            await begun.acquire()
        assert REGISTRY.get_sample_value("appstack_queue_depth") == 3
        may_end.set()
        for _ in range(3):
            await begun.acquire()
    assert REGISTRY.get_sample_value("appstack_queue_depth") == 0
    await kept.stop()
