"""Waiting for a cluster: who gives no answer for a moment, as a busy API server does, is asked again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def answered(
    question: Callable[[], T | None],
    what: str,
    limit_seconds: float,
    every_seconds: float,
    *,
    unanswered: type[Exception],
    given_up: type[Exception] = AssertionError,
) -> T:
    """Ask until the answer is truthy; an error of the kind `unanswered` is none.

    Raises `given_up` with WHAT and the last answer after the hang limit.
    """
    deadline = time.monotonic() + limit_seconds
    while True:
        last: T | Exception | None
        try:
            if last := question():
                return last
        except unanswered as error:
            last = error
        if time.monotonic() > deadline:
            raise given_up(f"not within {limit_seconds:.0f} s: {what}; last answer: {last!r}")
        time.sleep(every_seconds)
