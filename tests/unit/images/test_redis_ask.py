"""What a keeper makes of answers that come in pieces, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appstack_redis import ask

if TYPE_CHECKING:
    import pytest


def test_a_peer_that_dies_while_it_answers_is_silent_and_takes_nobody_with_it(
    torn_http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "KEEPER_PORT", torn_http_port)
    assert ask.ask_member("shop-redis-1", "127.0.0.1") is None
