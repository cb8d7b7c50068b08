"""What the bridge drops for a cut node."""

from __future__ import annotations

import pytest

from appstack_lab.faults import build_rules

IN, OUT = 'oifname "node2" drop', 'iifname "node2" drop'


@pytest.mark.parametrize(
    ("direction", "dropped", "passed"),
    [
        pytest.param("both", [IN, OUT], [], id="cut off"),
        pytest.param("in", [IN], [OUT], id="deaf"),
        pytest.param("out", [OUT], [IN], id="mute"),
    ],
)
def test_a_cut_drops_its_direction_and_no_other(direction: str, dropped: list[str], passed: list[str]):
    rules = build_rules({"node2": direction})
    assert all(rule in rules for rule in dropped)
    assert not any(rule in rules for rule in passed)


def test_healing_the_last_node_removes_the_table():
    assert build_rules({}).splitlines()[-1].startswith("delete table")
    assert "drop" not in build_rules({})
