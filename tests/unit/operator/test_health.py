"""A process that makes no progress is seen as such, also by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from appstack_operator.fence import Fence, clock
from appstack_operator.health import LIMITS, PASS_LIMIT_SECONDS, Health

STUCK = """
import asyncio, time
from appstack_operator.fence import Fence, clock

async def main(fence):
    fence.hold_until(clock() + 0.5)
    fence.watch()
    time.sleep(600)  # a callback that never returns

fence = Fence()
with asyncio.Runner(loop_factory=fence.loop_factory) as runner:
    runner.run(main(fence))
"""


def test_what_beats_is_well() -> None:
    health = Health()
    health.beat("loop")
    assert health.answer("/healthz", time.monotonic()) == (200, "ok")


@pytest.mark.parametrize("part", sorted(LIMITS))
def test_what_falls_silent_is_named(part: str) -> None:
    health = Health()
    health.beat(part)
    status, why = health.answer("/healthz", time.monotonic() + LIMITS[part] + 1)
    assert status == 503
    assert part in why


def test_a_pass_that_never_ends_is_named() -> None:
    health = Health()
    later = time.monotonic() + PASS_LIMIT_SECONDS + 1
    with health.working("shop/shop"):
        assert "shop/shop" in health.problem(later)
    assert health.problem(later) == ""


def test_ready_means_able_to_take_over() -> None:
    health = Health()
    assert health.answer("/readyz", time.monotonic())[0] == 503
    health.is_ready = True
    assert health.answer("/readyz", time.monotonic())[0] == 200


def test_a_stuck_loop_ends_the_process_that_holds_the_lease() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "could not be renewed" in ended.stderr


def test_the_event_loop_hands_out_nothing_after_the_lease() -> None:
    breaches: list[str] = []
    fence = Fence(breaches.append)

    async def sleep_past_the_end() -> None:
        fence.hold_until(clock() + 0.05)
        await asyncio.sleep(0.2)
        assert breaches, "the loop went on before anybody looked"

    with asyncio.Runner(loop_factory=fence.loop_factory) as runner:
        runner.run(sleep_past_the_end())


def test_a_lease_given_back_ends_nothing() -> None:
    breaches: list[str] = []
    fence = Fence(breaches.append)
    fence.hold_until(clock() + 60)
    fence.close()
    fence.check()
    assert not fence.is_open
    assert breaches == []


class CheckedAtEachStep(Fence):
    """Looked at by its thread at the worst moments."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if {"_is_holding", "_open_until", "_on_breach"} <= vars(self).keys():
            self.check()


def test_a_lease_that_has_just_been_taken_is_never_seen_as_run_out() -> None:
    breaches: list[str] = []
    fence = CheckedAtEachStep(breaches.append)
    fence.close()
    fence.hold_until(clock() + 60)
    fence.close()
    assert breaches == []
