"""Log lines: one JSON object each, whatever is to be logged."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from appstack_backend.logs import rendered


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("two\nlines", id="a line end"),
        pytest.param("\ud800", id="half a character"),
        pytest.param(1 << 70, id="a number too large for most"),
        pytest.param({1: object()}, id="an object"),
        pytest.param(ValueError("why"), id="an error"),
        pytest.param(datetime(2026, 1, 2, tzinfo=UTC), id="a time"),
        pytest.param(b"\xff", id="bytes"),
        pytest.param({("a", 1): 2}, id="an odd key"),
    ],
)
def test_anything_can_be_logged(value: object) -> None:
    line = rendered({"event": "told", "value": value})
    assert b"\n" not in line
    assert json.loads(line)["event"] == "told"
