"""A service of somebody else: the first thing that is wrong with it is said, with object and cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from appstack_operator.assess.external import external_serves
from appstack_operator.assess.stack import Assessment, assess_highly_available, assess_ready, assess_stack
from appstack_operator.assess.verdict import Reason
from appstack_operator.desired.api import build_service
from appstack_operator.desired.environment import build_environment
from appstack_operator.desired.stack import Stage
from appstack_operator.gates import set_gates
from appstack_operator.observed import ExternalAnswer, Observed
from tests.unit.operator.factories import a_context, a_stack, healthy_answers, made, observed, pods
from tests.unit.operator.running import a_running_stack, verdicts

URL = "postgresql://app:hush@db.example.com:5432/app"
STACK = a_stack(postgres={"mode": "External", "external": {"secretName": "theirs"}})


def look(secret: dict[str, str] | None, answer: ExternalAnswer | None = None, *, bound: str = URL) -> Observed:
    """A running stack whose backend was given `bound`."""
    context = a_context(external={"postgres": {"DATABASE_URL": bound}})
    objects = [made(STACK, each) for each in (build_environment(STACK, context), build_service(STACK))]
    seen = observed(*objects, *pods(STACK, "api", 2), **healthy_answers(STACK))
    return replace(seen, external={"postgres": secret}, external_answers={"postgres": answer or ExternalAnswer()})


def assessed(seen: Observed) -> Assessment:
    return assess_stack(STACK, seen, a_context(external={"postgres": {"DATABASE_URL": URL}}))


@pytest.mark.parametrize(
    ("secret", "answer", "reason", "words"),
    [
        pytest.param(None, {}, Reason.SECRET_MISSING, "Secret theirs", id="no Secret"),
        pytest.param({"OTHER": "x"}, {}, Reason.SECRET_INVALID, "lacks DATABASE_URL", id="no key"),
        pytest.param(
            {"DATABASE_URL": "mysql://app:hush@db/app"}, {}, Reason.SECRET_INVALID, "postgresql://", id="scheme"
        ),
        pytest.param({"DATABASE_URL": "postgresql://app:hush@db:x/app"}, {}, Reason.SECRET_INVALID, "URL", id="port"),
        pytest.param(
            {"DATABASE_URL": URL},
            {"error": "refused", "is_refused": True},
            Reason.SECRET_INVALID,
            "refuses",
            id="password",
        ),
        pytest.param(
            {"DATABASE_URL": URL}, {"error": "no route"}, Reason.EXTERNAL_UNREACHABLE, "no route", id="silence"
        ),
        pytest.param(
            {"DATABASE_URL": URL}, {"reads_error": "no route"}, Reason.EXTERNAL_UNREACHABLE, "no route", id="reads"
        ),
        pytest.param({"DATABASE_URL": URL}, {}, Reason.HEALTHY, "Secret theirs", id="well"),
    ],
)
def test_the_verdict_names_the_secret_and_the_cause(
    secret: dict[str, str] | None, answer: dict[str, Any], reason: Reason, words: str
) -> None:
    verdict = assessed(look(secret, ExternalAnswer(**answer))).verdicts["PostgresReady"]
    assert verdict.reason is reason
    assert words in verdict.message
    assert "theirs" in verdict.message
    assert "hush" not in verdict.message


def test_a_line_break_that_nobody_sees_is_said() -> None:
    """`kubectl create secret generic theirs --from-file=DATABASE_URL`: to PostgreSQL that is another database."""
    refusal = ExternalAnswer(error='DATABASE_URL: database "app " does not exist', is_refused=True)
    said = assessed(look({"DATABASE_URL": f"{URL}\n"}, refusal)).verdicts["PostgresReady"].message
    assert "DATABASE_URL begins or ends with a line break" in said
    assert "line break" not in assessed(look({"DATABASE_URL": URL}, refusal)).verdicts["PostgresReady"].message


def test_a_bound_service_that_falls_silent_ends_ready() -> None:
    found = assessed(look({"DATABASE_URL": URL}, ExternalAnswer(error="no route")))
    assert assess_ready(found).reason is Reason.EXTERNAL_UNREACHABLE


def test_a_new_address_that_does_not_answer_is_not_passed_on() -> None:
    found = assessed(look({"DATABASE_URL": URL}, ExternalAnswer(error="no route"), bound="postgresql://old/app"))
    assert not set_gates(found).is_open(Stage.ENVIRONMENT)
    assert found.serves["PostgresReady"], "the pods still run with the old address"


def test_a_bound_service_that_falls_silent_blocks_no_repair_of_a_service() -> None:
    found = assessed(look({"DATABASE_URL": URL}, ExternalAnswer(error="no route")))
    gates = set_gates(found)
    assert gates.is_open(Stage.ENVIRONMENT)
    assert not gates.is_open(Stage.MIGRATIONS)


def test_lost_reads_alone_leave_the_stack_serving() -> None:
    seen = look({"DATABASE_URL": URL}, ExternalAnswer(reads_error="no route"))
    assert external_serves("postgres", STACK, seen, api_serves=False)


def test_high_availability_says_what_it_cannot_judge() -> None:
    parts = (("redis", 3), ("redis-sentinel", 3), ("rabbitmq", 3), ("api", 2))
    everything = [pod for part, count in parts for pod in pods(STACK, part, count)]
    seen = observed(*everything, **healthy_answers(STACK))
    ready = assess_ready(
        Assessment(
            {"MigrationsApplied": assessed(look({"DATABASE_URL": URL})).verdicts["PostgresReady"]},
            dict.fromkeys(("PostgresReady", "RedisReady", "RabbitMQReady", "APIReady", "WorkersReady"), True),
        )
    )
    verdicts = dict.fromkeys(("PostgresReady", "RedisReady", "RabbitMQReady", "APIReady"), ready)
    found = assess_highly_available(STACK, seen, Assessment(verdicts, {}), ready)
    assert found.is_true
    assert "not judged: PostgreSQL" in found.message


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        pytest.param(None, Reason.SECRET_MISSING, id="no Secret"),
        pytest.param({"OTHER": "x"}, Reason.SECRET_INVALID, id="a key is missing"),
    ],
)
def test_an_external_service_needs_its_secret(secret: dict[str, str] | None, reason: Reason) -> None:
    seen = observed(external={"postgres": secret})
    assessment = assess_stack(STACK, seen, a_context())
    assert assessment.verdicts["PostgresReady"].reason is reason
    assert "theirs" in assessment.verdicts["PostgresReady"].message
    assert not set_gates(assessment).is_open(Stage.ENVIRONMENT)


def test_a_stack_that_runs_already_survives_the_loss_of_such_a_secret() -> None:
    found = verdicts(STACK, a_running_stack(STACK, external={"postgres": None}))
    assert found["Ready"].is_true
    assert found["PostgresReady"].reason is Reason.SECRET_MISSING
    assert found["Stalled"].reason is Reason.SECRET_MISSING
