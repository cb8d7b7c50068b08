"""What would not survive the loss of one pod or node is said, and only that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from appstack_operator.assess.conditions import Work, judge
from appstack_operator.assess.stack import assess_stack
from appstack_operator.assess.verdict import Reason
from tests.unit.operator.factories import a_context, a_pod, a_stack
from tests.unit.operator.running import a_running_stack, alone, verdicts, with_object, without_pods


def test_a_lost_api_pod_ends_high_availability_but_not_service() -> None:
    stack = a_stack()
    seen = with_object(a_running_stack(stack), a_pod(stack, "api", 1, ready=False))
    found = verdicts(stack, seen)
    assert found["Ready"].is_true
    assert (found["HighlyAvailable"].status, found["HighlyAvailable"].reason) == ("False", Reason.REPLICA_MISSING)


def test_two_pods_on_one_node_are_not_highly_available() -> None:
    stack = a_stack()
    seen = with_object(a_running_stack(stack), a_pod(stack, "api", 1, node="node-0"))
    available = verdicts(stack, seen)["HighlyAvailable"]
    assert available.reason is Reason.SHARED_NODE
    assert "node-0" in available.message


def test_the_message_says_that_hidden_nodes_keep_pods_where_they_are() -> None:
    stack = a_stack()
    seen = with_object(a_running_stack(stack), a_pod(stack, "api", 1, node="node-0"))
    assert "list nodes" not in verdicts(stack, seen)["HighlyAvailable"].message
    seen = replace(seen, are_nodes_hidden=True)
    assert "the operator may not list nodes" in verdicts(stack, seen)["HighlyAvailable"].message


def test_poolers_on_one_node_are_not_highly_available() -> None:
    stack = a_stack(postgres={"pooler": {"enabled": True}})
    assert verdicts(stack, a_running_stack(stack))["HighlyAvailable"].is_true
    seen = with_object(a_running_stack(stack), a_pod(stack, "postgres-pooler", 1, node="node-0"))
    available = verdicts(stack, seen)["HighlyAvailable"]
    assert available.reason is Reason.SHARED_NODE
    assert "postgres-pooler" in available.message


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_pooler_that_nobody_goes_through_yet_takes_nothing_from_high_availability(replicas: int) -> None:
    stack = a_stack(postgres={"pooler": {"enabled": True, "replicas": replicas}})
    seen = without_pods(a_running_stack(stack), "postgres-pooler")
    found = {
        is_door: judge(stack, seen, assess_stack(stack, seen, a_context(pooler_is_door=is_door)), Work())
        for is_door in (False, True)
    }
    assert found[False]["HighlyAvailable"].is_true
    assert not found[False]["PostgresReady"].is_true, "that it is missing is told there"
    assert not found[True]["HighlyAvailable"].is_true
    no_standby = without_pods(replace(seen, postgres=alone("running")), "postgres")
    assessment = assess_stack(stack, no_standby, a_context(pooler_is_door=False))
    assert not judge(stack, no_standby, assessment, Work())["HighlyAvailable"].is_true, "of the database it says all"


@pytest.mark.parametrize(
    ("component", "spec", "is_safe"),
    [
        pytest.param("redis", {}, False, id="a master that is left alone refuses writes"),
        pytest.param("redis", {"redis": {"replicas": 4}}, False, id="two of four are no majority"),
        pytest.param("redis", {"redis": {"replicas": 5}}, True, id="three of five are"),
        pytest.param("postgres", {"postgres": {"instances": 3}}, True, id="commits wait for nobody who is not there"),
        pytest.param(
            "postgres",
            {"postgres": {"instances": 3, "synchronousReplication": "Required"}},
            False,
            id="commits wait for a standby",
        ),
    ],
)
def test_who_is_left_by_a_lost_node_has_to_take_writes(component: str, spec: dict[str, Any], is_safe: bool) -> None:
    stack = a_stack(**spec)
    assert verdicts(stack, a_running_stack(stack))["HighlyAvailable"].is_true
    seen = with_object(a_running_stack(stack), a_pod(stack, component, 1, node="node-0"))
    available = verdicts(stack, seen)["HighlyAvailable"]
    assert available.is_true is is_safe
    assert is_safe or (
        available.reason is Reason.SHARED_NODE and f"{component} pods run on node node-0" in available.message
    )


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"postgres": {"instances": 1}}, id="PostgreSQL"),
        pytest.param({"postgres": {"instances": 2, "synchronousReplication": "Required"}}, id="a required standby"),
        pytest.param({"postgres": {"pooler": {"enabled": True, "replicas": 1}}}, id="pooler"),
        pytest.param({"redis": {"sentinels": 1}}, id="Sentinel"),
        pytest.param({"rabbitmq": {"replicas": 1}}, id="RabbitMQ"),
        pytest.param({"backend": {"api": {"replicas": 1}}}, id="API"),
    ],
)
def test_a_single_instance_is_legal_and_said(spec: dict[str, Any]) -> None:
    stack = a_stack(**spec)
    found = verdicts(stack, a_running_stack(stack))
    assert found["Ready"].is_true
    assert found["HighlyAvailable"].reason is Reason.SINGLE_INSTANCE
