"""What a keeper makes of answers that come in pieces, or not at all."""

from __future__ import annotations

import threading

import pytest
from appstack_redis import ask
from appstack_redis.decide import Answer
from appstack_redis.settings import Group

GROUP = Group("shop.shop", {}, {f"sentinel-{number}": f"10.0.0.{number}" for number in range(3)}, 1)
MASTER, OTHER = "10.0.1.0", "10.0.1.1"


def test_a_peer_that_dies_while_it_answers_is_silent_and_takes_nobody_with_it(
    torn_http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "KEEPER_PORT", torn_http_port)
    assert ask.ask_member("shop-redis-1", "127.0.0.1") is None


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        pytest.param({"sentinel-0": MASTER, "sentinel-1": MASTER}, {MASTER}, id="most agree"),
        pytest.param({"sentinel-0": MASTER, "sentinel-1": OTHER}, {MASTER, OTHER}, id="they do not yet"),
    ],
)
def test_a_silent_sentinel_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], heard: set[str]
) -> None:
    """Each question to one that a drain had just ended cost a second, in which Redis' writes were held."""
    answers = threading.Event()

    def question(sentinel: str, *_: str) -> Answer | None:
        if sentinel in told:
            return Answer(sentinel, told[sentinel])
        assert answers.wait(60)
        return None

    monkeypatch.setattr(ask, "ask_sentinel", question)
    assert {each.address for each in ask.answers_until_agreed(GROUP, "")} == heard
    assert not answers.is_set()
    answers.set()


def test_one_answer_of_three_is_waited_for_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be told as the word of all, where the others are only slow."""
    monkeypatch.setattr(ask, "LATE_SECONDS", 0.01)
    slow = threading.Event()

    def question(sentinel: str, *_: str) -> Answer | None:
        if sentinel != "sentinel-0":
            slow.wait(0.3)
        return Answer(sentinel, MASTER)

    monkeypatch.setattr(ask, "ask_sentinel", question)
    assert len(ask.answers_until_agreed(GROUP, "")) >= GROUP.quorum
