"""When a Sentinel counts as spinning."""

from __future__ import annotations

import pytest
from appstack_redis.spin import Usage, is_spinning


@pytest.mark.parametrize(
    ("cpu_seconds", "commands", "spins"),
    [
        pytest.param(5.0, 120, True, id="half a processor, as its limit allows, for a few commands"),
        pytest.param(2.1, 120, True, id="a fifth of one"),
        pytest.param(0.05, 120, False, id="at rest"),
        pytest.param(1.5, 120, False, id="a failover, or a slow machine"),
        pytest.param(4.0, 9000, False, id="many clients ask for the master"),
    ],
)
def test_a_sentinel_spins_that_uses_a_processor_for_nothing(cpu_seconds: float, commands: int, spins: bool) -> None:
    before = Usage(at_seconds=100.0, cpu_seconds=30.0, commands=1000)
    assert is_spinning(before, Usage(110.0, 30.0 + cpu_seconds, 1000 + commands)) is spins


def test_a_longer_look_weighs_the_same() -> None:
    before = Usage(at_seconds=100.0, cpu_seconds=30.0, commands=1000)
    assert not is_spinning(before, Usage(at_seconds=200.0, cpu_seconds=35.0, commands=1000))
