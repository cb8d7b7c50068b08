"""Room for webhooks, and how often an address may try tokens."""

from __future__ import annotations

import asyncio
import time

import pytest

from appstack_backend.http import attempts
from appstack_backend.http.attempts import Buckets, address_of
from appstack_backend.webhooks.places import Places


async def test_one_target_gets_so_many_places_and_all_together_so_many() -> None:
    places = Places(most=3, most_of_one=2, wait_seconds=0.01)
    assert [await places.take(target) for target in "aaabbc"] == [True, True, False, True, False, False]
    await places.give_back("a")
    assert [await places.take(target) for target in "cb"] == [True, False]


async def test_who_waits_gets_the_place_that_is_given_back() -> None:
    places = Places(most=3, most_of_one=1, wait_seconds=60)
    assert await places.take("a")
    waiting = asyncio.create_task(places.take("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await places.give_back("a")
    assert await waiting


async def test_only_so_many_wait_for_a_target_and_the_rest_is_turned_away_at_once() -> None:
    """Whoever waits keeps one of the worker's places for messages."""
    places = Places(most=9, most_of_one=2, wait_seconds=60)
    assert [await places.take("slow") for _ in range(2)] == [True, True]
    waiting = [asyncio.create_task(places.take("slow")) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert [await places.take("slow") for _ in range(100)] == [False] * 100
        assert await places.take("other")
        for _ in range(2):
            await places.give_back("slow")
        assert await asyncio.gather(*waiting) == [True, True]
        await places.give_back("slow")
        assert await places.take("slow")


@pytest.mark.parametrize(
    ("forwarded_for", "trusted", "counted"),
    [
        ("", 0, "203.0.113.9"),
        ("192.0.2.1", 0, "203.0.113.9"),
        ("192.0.2.1", 1, "192.0.2.1"),
        ("192.0.2.1, 192.0.2.2 ,192.0.2.3", 2, "192.0.2.2"),
        ("192.0.2.1", 2, "203.0.113.9"),
        ("nonsense", 1, "203.0.113.9"),
        ("2001:db8:1:2:3::4", 1, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", 1, "192.0.2.1"),
    ],
)
def test_whom_an_attempt_is_counted_for(forwarded_for: str, trusted: int, counted: str) -> None:
    assert address_of("203.0.113.9", forwarded_for, trusted) == counted


def test_attempts_are_counted_by_address_and_forgiven_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    counted = Buckets(per_minute=2)
    for _ in range(2):
        assert counted.wait_seconds("a") == 0
        counted.count("a")
    assert counted.wait_seconds("a") == pytest.approx(30)
    assert counted.wait_seconds("b") == 0
    clock[0] += 30.1
    assert counted.wait_seconds("a") == 0


def test_attempts_at_once_make_nobody_wait_longer_than_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were all on their way before the first one was counted; others may be behind the same address."""
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    counted = Buckets(per_minute=2)
    for _ in range(1_000):
        counted.count("a")
    assert counted.wait_seconds("a") == pytest.approx(30)


def test_attempts_of_any_number_of_addresses_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST_REMEMBERED", 10)
    counted = Buckets(per_minute=2)
    for _ in range(2):
        counted.count("guesser")
    for number in range(100):
        counted.count(str(number))
    assert len(counted._full_at) <= 10
    assert counted.wait_seconds("guesser") > 0


def test_no_limit_counts_nothing() -> None:
    counted = Buckets(per_minute=0)
    counted.count("a")
    assert counted.wait_seconds("a") == 0
