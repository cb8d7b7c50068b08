"""What the services say leads to a pass only if it leads to other conclusions."""

from __future__ import annotations

from dataclasses import replace

from appstack_operator.assess.stack import assess_stack
from appstack_operator.observed import Observed, PostgresAnswers
from appstack_operator.probe import conclusions
from tests.unit.operator.factories import a_context, a_stack, healthy_answers, observed

STACK = a_stack()
SEEN = observed(**healthy_answers(STACK))


def concluded(seen: Observed) -> object:
    return conclusions(seen, assess_stack(STACK, seen, a_context()))


def test_a_lost_primary_is_news() -> None:
    assert concluded(replace(SEEN, postgres=PostgresAnswers())) != concluded(SEEN)


def test_another_primary_is_news() -> None:
    first, second = SEEN.postgres.members
    swapped = (replace(first, role="sync_standby", is_sync=True), replace(second, role="primary", is_sync=False))
    assert concluded(replace(SEEN, postgres=PostgresAnswers(swapped))) != concluded(SEEN)


def test_a_little_lag_is_no_news() -> None:
    first, second = SEEN.postgres.members
    assert concluded(replace(SEEN, postgres=PostgresAnswers((first, replace(second, lag_bytes=4096))))) == concluded(
        SEEN
    )


def test_a_longer_queue_is_no_news_by_itself() -> None:
    assert concluded(replace(SEEN, rabbitmq=replace(SEEN.rabbitmq, backlog={"bulk": 5}))) == concluded(SEEN)
