"""A first late answer is bridged by the last good one, a second is silence; a refusal and an old answer never are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appstack_operator.assess.postgres import one_primary_leads
from appstack_operator.assess.verdict import Reason
from appstack_operator.bridging import LONGEST_SECONDS, AnswerMemory
from appstack_operator.observed import (
    Observed,
    PostgresAnswers,
    PostgresMember,
    RabbitmqAnswers,
    RedisAnswers,
    RedisInstance,
    SentinelAnswer,
)
from tests.unit.operator.factories import a_stack, healthy_answers, observed, pods

STACK = a_stack()
PODS = [pod for component in ("postgres", "redis", "redis-sentinel") for pod in pods(STACK, component, 3)]
WELL = observed(*PODS, **healthy_answers(STACK))
FIRST, SECOND = WELL.postgres.members
LATE = replace(WELL, postgres=PostgresAnswers((PostgresMember(FIRST.pod, error="no answer", is_late=True), SECOND)))
POLL_SECONDS = 5.0


def looked(*looks: Observed, every_seconds: float = POLL_SECONDS) -> list[Observed]:
    """What counts as seen, look by look."""
    memory = AnswerMemory()
    return [memory.bridged(seen, number * every_seconds) for number, seen in enumerate(looks)]


def test_a_first_late_answer_flips_nothing_and_a_second_does() -> None:
    verdicts = [one_primary_leads(STACK, seen) for seen in looked(WELL, LATE, LATE)]
    assert verdicts[:2] == [None, None]
    assert verdicts[2] is not None


def test_its_age_is_known() -> None:
    _, seen = looked(WELL, LATE)
    assert seen.postgres.members == (replace(FIRST, age_seconds=POLL_SECONDS), SECOND)


def test_silence_lasts_until_an_answer_comes_and_is_bridged_anew_after_it() -> None:
    roles = [seen.postgres.members[0].role for seen in looked(WELL, LATE, LATE, LATE, WELL, LATE, LATE)]
    assert roles == ["primary", "primary", "", "", "primary", "primary", ""]


def test_an_answer_of_long_ago_does_not_stand_in() -> None:
    assert looked(WELL, LATE, every_seconds=LONGEST_SECONDS)[1].postgres.primary is not None
    assert looked(WELL, LATE, every_seconds=LONGEST_SECONDS + 1)[1] == LATE


def test_a_refused_connection_counts_at_once() -> None:
    refused = replace(WELL, postgres=PostgresAnswers((PostgresMember(FIRST.pod, error="refused"), SECOND)))
    assert looked(WELL, refused)[1] == refused
    assert looked(WELL, refused, LATE)[2] == LATE, "what was refused leaves nothing to stand in"


def test_the_first_look_of_a_new_process_bridges_nothing() -> None:
    assert looked(LATE) == [LATE]


@pytest.mark.parametrize(
    ("looks", "every_seconds", "asks_again"),
    [
        pytest.param([LATE], POLL_SECONDS, [True], id="the first look of a new process"),
        pytest.param([WELL, LATE, LATE], POLL_SECONDS, [False, False, False], id="a former answer stood in"),
        pytest.param([WELL, LATE, LATE, LATE], 15.0, [False, True, False, False], id="at rest none is young enough"),
        pytest.param([WELL, LATE, WELL, LATE], 15.0, [False, True, False, True], id="anew after an answer"),
    ],
)
def test_a_first_silence_for_which_nothing_stands_in_is_asked_once_more(
    looks: list[Observed], every_seconds: float, asks_again: list[bool]
) -> None:
    memory, asked = AnswerMemory(), []
    for number, seen in enumerate(looks):
        memory.bridged(seen, number * every_seconds)
        asked.append(memory.asks_again)
    assert asked == asks_again


def test_a_single_node_that_is_late_is_asked_once_more() -> None:
    """RabbitMQ's nodes answer as one: what one of them says of itself is missing then."""
    memory = AnswerMemory()
    memory.bridged(WELL, 0)
    memory.bridged(replace(WELL, rabbitmq=replace(WELL.rabbitmq, is_late=True)), 15)
    assert memory.asks_again


def test_a_new_pod_is_not_answered_for_by_its_predecessor() -> None:
    remade = observed(*({**pod, "metadata": {**pod["metadata"], "uid": "new"}} for pod in PODS))
    after = replace(LATE, objects=remade.objects)
    assert looked(WELL, after)[1].postgres.members[0].error == "no answer"


def test_a_former_primary_does_not_stand_in_beside_a_new_one() -> None:
    promoted = replace(SECOND, role="primary")
    after = replace(LATE, postgres=PostgresAnswers((LATE.postgres.members[0], promoted)))
    assert looked(WELL, after)[1].postgres.primary == promoted


def test_a_sentinel_s_former_word_does_not_stand_against_a_new_one() -> None:
    late, *others = WELL.redis.sentinels
    moved = tuple(replace(each, master="shop-redis-1") for each in others)
    silent = SentinelAnswer(late.pod, error="no answer", is_late=True)
    after = replace(WELL, redis=RedisAnswers((silent, *moved), WELL.redis.instances))
    assert looked(WELL, after)[1].redis.master == "shop-redis-1"


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(
            replace(
                WELL,
                redis=RedisAnswers(
                    tuple(SentinelAnswer(each.pod, error="late", is_late=True) for each in WELL.redis.sentinels),
                    tuple(RedisInstance(each.pod, error="late", is_late=True) for each in WELL.redis.instances),
                ),
            ),
            id="all of Redis",
        ),
        pytest.param(replace(WELL, rabbitmq=RabbitmqAnswers(error="late", is_late=True)), id="RabbitMQ"),
    ],
)
def test_every_service_is_bridged(late: Observed) -> None:
    _, bridged, silent = looked(WELL, late, late)
    assert bridged.redis.master == "shop-redis-0"
    assert [each.role for each in bridged.redis.instances] == ["master", "slave", "slave"]
    assert len(bridged.rabbitmq.nodes) == 3
    assert silent == late


def test_a_verdict_says_how_old_the_answer_is_that_it_rests_on() -> None:
    before = replace(WELL, postgres=PostgresAnswers((replace(FIRST, role="replica"), SECOND)))
    verdict = one_primary_leads(STACK, looked(before, LATE)[1])
    assert verdict is not None
    assert verdict.reason in (Reason.NO_PRIMARY, Reason.CREATING)
    assert "shop-postgres-0: replica running (last answer 5 s ago); shop-postgres-1: " in verdict.message


def told(**backlog: int | None) -> Observed:
    """A broker that is well and tells these lengths."""
    return replace(WELL, rabbitmq=replace(WELL.rabbitmq, backlog=backlog))


SILENT_QUEUES = replace(WELL, rabbitmq=replace(WELL.rabbitmq, backlog_error="no answer within 2 s"))


@pytest.mark.parametrize(
    ("looks", "electing"),
    [
        pytest.param([told(bulk=3), told(bulk=None)], {"bulk"}, id="its leader has just gone"),
        pytest.param([told(bulk=3), *[told(bulk=None)] * 3], {"bulk"}, id="10 s later"),
        pytest.param([told(bulk=3), *[told(bulk=None)] * 4], set(), id="15 s later"),
        pytest.param([told(bulk=None)], set(), id="the first look of a new process: it may be so for long"),
        pytest.param([told(bulk=None), told(bulk=None)], set(), id="and its second one"),
        pytest.param([told(bulk=3), *[told(bulk=None)] * 4, told(bulk=3), told(bulk=None)], {"bulk"}, id="anew"),
        pytest.param([told(), told(bulk=None)], set(), id="a queue that was not there"),
        pytest.param([told(a=1, b=None), told(a=None, b=None)], {"a"}, id="each for itself"),
        pytest.param([told(a=1), SILENT_QUEUES], {""}, id="the whole list is not told"),
        pytest.param([SILENT_QUEUES], set(), id="nor was it before"),
        pytest.param([told(a=1), *[SILENT_QUEUES] * 4], set(), id="for long"),
        pytest.param([told(a=1), *[SILENT_QUEUES] * 2, told(a=None)], {"a"}, id="the list, then one of it"),
    ],
)
def test_a_queue_between_two_leaders_is_known_as_such_for_a_while(looks: list[Observed], electing: set[str]) -> None:
    seen = looked(*looks)[-1]
    assert seen.rabbitmq == replace(looks[-1].rabbitmq, electing=frozenset(electing)), "no old length stands in"
