"""What is said about PostgreSQL: the cause, not the symptom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.postgres import assess_postgres
from appstack_operator.assess.stack import postgres_serves
from appstack_operator.assess.verdict import Reason
from appstack_operator.desired.pooler import build_pooler
from appstack_operator.desired.postgres import build_postgres
from appstack_operator.observed import PostgresAnswers, PostgresMember
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, made, observed, pods

if TYPE_CHECKING:
    from appstack_operator.api import AppStack
    from appstack_operator.assess.verdict import Verdict

P0, P1 = "shop-postgres-0", "shop-postgres-1"
PRIMARY = PostgresMember(P0, role="primary", state="running", timeline=1)
STANDBY = PostgresMember(P1, role="replica", state="streaming", timeline=1, lag_bytes=0, is_sync=True)


def verdict(
    *members: PostgresMember, stack: AppStack | None = None, initialized: bool = True, **changes: Any
) -> Verdict:
    """The verdict about members that answer so, in pods that are ready unless told otherwise."""
    stack = stack or a_stack()
    config = next(o for o in build_postgres(stack, a_context()) if o["metadata"]["name"] == "shop-postgres-config")
    if initialized:
        config["metadata"]["annotations"]["initialize"] = "7234"
    stateful_set = next(o for o in build_postgres(stack, a_context()) if o["kind"] == "StatefulSet")
    running = changes.get("pods") or pods(stack, "postgres", stack.spec.postgres.instances)
    objects = [made(stack, stateful_set, updateRevision="2"), config, *running]
    return assess_postgres(stack, observed(*objects, postgres=PostgresAnswers(members)))


def test_a_primary_and_its_synchronous_replica_are_healthy() -> None:
    found = verdict(PRIMARY, STANDBY)
    assert (found.status, found.reason) == ("True", Reason.HEALTHY)
    assert P0 in found.message


def test_the_answers_of_a_healthy_stack_are_healthy() -> None:
    assert verdict(*healthy_answers(a_stack())["postgres"].members).is_true


@pytest.mark.parametrize(
    ("members", "reason", "words"),
    [
        pytest.param(
            (replace(PRIMARY, role="replica"), STANDBY), Reason.NO_PRIMARY, [P0, P1, "streaming"], id="nobody leads"
        ),
        pytest.param((PRIMARY, replace(STANDBY, role="primary")), Reason.NO_PRIMARY, ["both"], id="two lead"),
        pytest.param(
            (PRIMARY, PostgresMember(P1, error="connection refused")),
            Reason.REPLICA_LAGGING,
            [P1, "connection refused"],
            id="a replica is silent",
        ),
        pytest.param(
            (PRIMARY, replace(STANDBY, state="running")), Reason.REPLICA_LAGGING, [P1, "running"], id="not streaming"
        ),
        pytest.param(
            (PRIMARY, replace(STANDBY, lag_bytes=300 * 2**20)), Reason.REPLICA_LAGGING, [P1, "300 MiB"], id="far behind"
        ),
        pytest.param((PRIMARY, replace(STANDBY, is_sync=False)), Reason.NO_SYNC_STANDBY, ["second copy"], id="async"),
    ],
)
def test_the_reason_and_the_member_are_named(
    members: tuple[PostgresMember, ...], reason: Reason, words: list[str]
) -> None:
    found = verdict(*members)
    assert (found.status, found.reason) == ("False", reason)
    assert all(word in found.message for word in words)


def test_an_asynchronous_replica_is_well_where_the_spec_asks_for_no_more() -> None:
    stack = a_stack(postgres={"synchronousReplication": "Off"})
    assert verdict(PRIMARY, replace(STANDBY, is_sync=False), stack=stack).is_true


def test_required_replication_without_a_replica_says_that_writes_wait() -> None:
    stack = a_stack(postgres={"synchronousReplication": "Required"})
    assert "writes wait" in verdict(PRIMARY, replace(STANDBY, is_sync=False), stack=stack).message


def test_a_database_that_is_only_being_made_is_not_an_outage() -> None:
    found = verdict(PostgresMember(P0, error="connection refused"), initialized=False)
    assert found.reason is Reason.CREATING


def test_a_missing_pod_is_told_before_its_silence() -> None:
    stack = a_stack()
    running = [a_pod(stack, "postgres", 0), a_pod(stack, "postgres", 1, ready=False)]
    found = verdict(PRIMARY, PostgresMember(P1, error="no answer"), pods=running)
    assert (found.reason, P1 in found.message) == (Reason.REPLICA_MISSING, True)


def test_a_parameter_that_waits_for_a_restart_is_shown_while_all_is_well() -> None:
    found = verdict(PRIMARY, replace(STANDBY, pending_restart=True))
    assert (found.status, found.reason) == ("True", Reason.ROLLOUT_IN_PROGRESS)


def pooler(ready: int) -> list[Any]:
    """A pooler of two, so many of whose pods are ready, behind a PostgreSQL that is well."""
    stack = a_stack(postgres={"pooler": {"enabled": True}})
    deployment = next(obj for obj in build_pooler(stack, a_context()) if obj["kind"] == "Deployment")
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)
    deployment = made(stack, deployment, observedGeneration=1, **counts)
    return [stack, deployment, *(a_pod(stack, "postgres-pooler", i, ready=i < ready) for i in range(2))]


@pytest.mark.parametrize(
    ("ready", "reason", "serves"),
    [(2, Reason.HEALTHY, True), (1, Reason.REPLICA_MISSING, True), (0, Reason.CREATING, False)],
)
def test_writes_need_a_pooler_where_there_is_one(ready: int, reason: Reason, serves: bool) -> None:
    stack, deployment, *poolers = pooler(ready)
    found = verdict(PRIMARY, STANDBY, stack=stack, pods=[*pods(stack, "postgres", 2), deployment, *poolers])
    assert found.reason is reason
    seen = observed(deployment, *poolers, postgres=PostgresAnswers((PRIMARY, STANDBY)))
    assert postgres_serves(stack, seen, a_context()) is serves
    assert postgres_serves(stack, seen, a_context(pooler_is_door=False)), "the backend still goes past it"
