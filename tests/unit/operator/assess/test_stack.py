"""Whether a stack serves its users: all that is well, and what they cannot do without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from appstack_operator.assess.stack import assess_stack, contradiction
from appstack_operator.assess.verdict import Reason
from appstack_operator.observed import PostgresAnswers
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers
from tests.unit.operator.running import a_running_stack, alone, verdicts, with_object


def test_a_stack_that_is_well_says_so_everywhere() -> None:
    stack = a_stack()
    found = verdicts(stack, a_running_stack(stack))
    assert set(found) == {
        "Ready",
        "HighlyAvailable",
        "PostgresReady",
        "RedisReady",
        "RabbitMQReady",
        "MigrationsApplied",
        "APIReady",
        "WorkersReady",
        "CronJobsReady",
    }
    assert [name for name, verdict in found.items() if (verdict.status, verdict.reason) != ("True", "Healthy")] == []


def test_without_a_primary_no_user_is_served() -> None:
    stack = a_stack()
    seen = a_running_stack(stack, postgres=PostgresAnswers())
    ready = verdicts(stack, seen)["Ready"]
    assert (ready.status, ready.reason) != ("True", Reason.HEALTHY)


REQUIRED: dict[str, Any] = {"postgres": {"synchronousReplication": "Required"}}


@pytest.mark.parametrize(
    ("spec", "answers", "is_ready", "reason"),
    [
        pytest.param({}, {"postgres": alone("running")}, True, Reason.HEALTHY, id="commits go on alone"),
        pytest.param(REQUIRED, {"postgres": alone("running")}, False, Reason.NO_SYNC_STANDBY, id="commits wait"),
        pytest.param({}, {"postgres": alone("starting")}, False, Reason.NO_PRIMARY, id="the server starts"),
        pytest.param({}, {"redis": {"good_replicas": 0}}, False, Reason.REPLICA_MISSING, id="Redis refuses"),
        pytest.param({}, {"redis": {"disk_fails": True}}, False, Reason.MASTER_DISPUTED, id="Redis' disk is full"),
        pytest.param({}, {"rabbitmq": {"alarms": ("disk",)}}, False, Reason.PUBLISHERS_BLOCKED, id="a full disk"),
    ],
)
def test_who_cannot_write_is_not_served(
    spec: dict[str, Any], answers: dict[str, Any], is_ready: bool, reason: Reason
) -> None:
    stack = a_stack(**spec)
    well = healthy_answers(stack)
    if "redis" in answers:
        master, *others = well["redis"].instances
        answers = {"redis": replace(well["redis"], instances=(replace(master, **answers["redis"]), *others))}
    if "rabbitmq" in answers:
        first, *others = well["rabbitmq"].nodes
        answers = {"rabbitmq": replace(well["rabbitmq"], nodes=(replace(first, **answers["rabbitmq"]), *others))}
    ready = verdicts(stack, a_running_stack(stack, **answers))["Ready"]
    assert (ready.is_true, ready.reason) == (is_ready, reason)


def test_an_api_that_nobody_wants_serves_nobody_and_is_no_failure() -> None:
    stack = a_stack(backend={"api": {"replicas": 0}})
    found = verdicts(stack, a_running_stack(stack))
    assert (found["APIReady"].status, found["APIReady"].reason) == ("True", Reason.NOT_DECLARED)
    assert (found["Ready"].status, found["Ready"].reason) == ("False", Reason.NOT_DECLARED)
    assert "spec.backend.api.replicas is 0" in found["Ready"].message


def test_pods_behind_no_service_serve_nobody() -> None:
    """A paused stack, or one whose Service's name somebody else has."""
    stack = a_stack()
    seen = a_running_stack(stack)
    services = {name: each for name, each in seen.objects["Service"].items() if name != "shop-api"}
    found = verdicts(stack, replace(seen, objects={**seen.objects, "Service": services}))
    assert (found["Ready"].status, found["APIReady"].status) == ("False", "False")
    assert "no Service shop-api" in found["Ready"].message


def test_what_contradicts_itself_is_told_pod_by_pod() -> None:
    stack = a_stack(backend={"image": "shop:1", "api": {"autoscaling": {}}})
    well = a_running_stack(stack)
    deployment = next(each for each in well.of_kind("Deployment") if each["metadata"]["name"] == "shop-api")
    none_wanted = with_object(well, {**deployment, "spec": {**deployment["spec"], "replicas": 0}})
    off = [a_pod(stack, "api", number, ready=False) for number in range(2)]
    seen = with_object(with_object(none_wanted, off[0]), off[1])
    assert verdicts(stack, seen)["Ready"].reason is Reason.STATE_UNKNOWN
    said = contradiction(seen, assess_stack(stack, seen, a_context()))
    assert said.startswith("nobody serves although APIReady is True (")
    assert said.endswith("shop-api-0 Running, Ready False; shop-api-1 Running, Ready False")
    assert contradiction(well, assess_stack(stack, well, a_context())) == ""
    known = replace(well, postgres=PostgresAnswers())
    assert contradiction(known, assess_stack(stack, known, a_context())) == "", "a cause is known"
