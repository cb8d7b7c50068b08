"""Requests and limits: the spec's over the defaults, and never a request above its limit."""

from __future__ import annotations

from typing import Any

import pytest

from appstack_operator.api import Resources
from appstack_operator.desired.pods import resources

REQUESTS = {"cpu": "100m", "memory": "256Mi"}
LIMITS = {"cpu": "1", "memory": "512Mi"}


@pytest.mark.parametrize(
    ("wanted", "requests", "limits"),
    [
        pytest.param({}, REQUESTS, LIMITS, id="the defaults"),
        pytest.param(
            {"requests": {"cpu": "2"}},
            {"cpu": "2", "memory": "256Mi"},
            {"cpu": "2", "memory": "512Mi"},
            id="a request above the default limit raises it",
        ),
        pytest.param(
            {"limits": {"memory": "0.1Gi"}},
            {"cpu": "100m", "memory": "0.1Gi"},
            {"cpu": "1", "memory": "0.1Gi"},
            id="a limit below the default request lowers it",
        ),
        pytest.param(
            {"requests": {"cpu": 1}, "limits": {"cpu": "1500m", "example.com/gpu": 1}},
            {"cpu": "1", "memory": "256Mi"},
            {"cpu": "1500m", "memory": "512Mi", "example.com/gpu": "1"},
            id="both are kept where both are given",
        ),
    ],
)
def test_the_spec_wins_over_the_defaults(wanted: dict[str, Any], requests: Any, limits: Any) -> None:
    built = resources(Resources.model_validate(wanted), requests=REQUESTS, limits=LIMITS)
    assert built == {"requests": requests, "limits": limits}
