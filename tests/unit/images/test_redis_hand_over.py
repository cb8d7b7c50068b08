"""For whom a master that stops waits."""

from __future__ import annotations

import time

import pytest
from appstack_redis import hand_over
from appstack_redis.decide import Answer
from appstack_redis.hand_over import SILENCES, have_caught_up, have_promoted
from appstack_redis.settings import Group

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


ME, HEIR, FORMER = "10.0.0.1", "10.0.0.2", "10.0.0.3"
GROUP = Group("shop.shop", {}, {f"sentinel-{number}": f"10.0.1.{number}" for number in range(3)}, 1)


class Sentinels:
    """Sentinels that name somebody, and one that has agreed to replace the master."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.named = [Answer("sentinel-0", ME, 3), Answer("sentinel-1", ME, 3)]
        self.leading = {ME}
        self.asked = 0
        self.there: list[bool | None] = []  # what the one that agreed says, look for look; then it goes on to answer
        self.promote_at = 0  # at which look the heir leads; 0: never
        monkeypatch.setattr(hand_over, "answers_until_agreed", lambda *_: self.look())
        monkeypatch.setattr(hand_over, "leads", lambda address, _: address in self.leading)
        monkeypatch.setattr(hand_over, "ask_failover", lambda *_: self.agree())
        monkeypatch.setattr(hand_over, "is_there", lambda *_: self.there.pop(0) if self.there else True)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        self.looks = 0

    def look(self) -> list[Answer]:
        self.looks += 1
        if self.looks == self.promote_at:
            self.leading, self.named = {HEIR}, [Answer("sentinel-0", HEIR, 4)]
        return self.named

    def agree(self) -> tuple[str, str]:
        self.asked += 1
        return "10.0.1.2", ""

    def hand_over(self, seconds: float = 60.0) -> bool:
        return have_promoted(GROUP, ME, [HEIR, FORMER], "", time.monotonic() + seconds)


def test_another_one_is_promoted_by_the_sentinel_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sentinels = Sentinels(monkeypatch)
    sentinels.promote_at = 3
    assert sentinels.hand_over()
    assert sentinels.asked == 1


def test_a_predecessor_that_some_still_name_is_no_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one was promoted a moment ago: it would end with nobody in its place."""
    sentinels = Sentinels(monkeypatch)
    sentinels.named = [Answer("sentinel-0", FORMER, 2), Answer("sentinel-1", FORMER, 2)]
    assert not sentinels.hand_over(0.2)
    assert sentinels.asked == 1


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        pytest.param([False], 2, id="refused"),
        pytest.param([None, None, True], 1, id="slow"),
        pytest.param([None] * SILENCES, 2, id="silent for long"),
    ],
)
def test_another_sentinel_is_asked_only_where_the_one_that_agreed_has_ended(
    monkeypatch: pytest.MonkeyPatch, said: list[bool | None], asked: int
) -> None:
    """One that is slow may still promote, and two would promote two."""
    sentinels = Sentinels(monkeypatch)
    sentinels.there, sentinels.promote_at = list(said), len(said) + 2
    assert sentinels.hand_over()
    assert sentinels.asked == asked


def test_no_other_one_is_asked_where_an_heir_leads_already(monkeypatch: pytest.MonkeyPatch) -> None:
    sentinels = Sentinels(monkeypatch)
    sentinels.there, sentinels.leading, sentinels.promote_at = [False, False], {HEIR}, 4
    assert sentinels.hand_over()
    assert sentinels.asked == 1
