"""For whom a master that stops waits."""

from __future__ import annotations

import pytest
from appstack_redis.hand_over import have_caught_up

LINKED, LOST = {"master_link_status": "up"}, {"master_link_status": "down", "slave_repl_offset": "40"}


@pytest.mark.parametrize(
    ("heirs", "caught_up"),
    [
        ([{**LINKED, "slave_repl_offset": "100"}, LOST], True),
        ([{**LINKED, "slave_repl_offset": "100"}, {}], True),
        ([{**LINKED, "slave_repl_offset": "100"}, {**LINKED, "slave_repl_offset": "99"}], False),
        ([LINKED], False),
        ([LOST, {}], False),
    ],
    ids=["one without a link", "one that is silent", "one is behind", "one does not say", "nobody is linked"],
)
def test_a_stop_waits_for_those_alone_that_can_catch_up(heirs: list[dict[str, str]], caught_up: bool) -> None:
    assert have_caught_up(heirs, 100) is caught_up
