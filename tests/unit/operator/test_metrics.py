"""What the operator tells about itself: every metric is documented, conditions come and go with their stack."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from appstack_operator import metrics

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
