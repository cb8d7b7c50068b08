"""Ready, HighlyAvailable and the gates, from what was seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.conditions import Work, build_conditions, headline, judge
from appstack_operator.assess.stack import assess_stack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.stack import Stage, build_stack
from appstack_operator.gates import set_gates
from appstack_operator.observed import Observed, PostgresAnswers, PostgresMember, RedisAnswers, SentinelAnswer
from tests.unit.operator.factories import NOW, a_context, a_pod, a_stack, healthy_answers, made, observed, pods

if TYPE_CHECKING:
    from appstack_operator.api import AppStack
    from appstack_operator.objects import Object

DONE = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
FAILED = {
    "conditions": [
        {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many",
         "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
}  # fmt: skip


def status_of(manifest: Object) -> dict[str, Any]:
    """The status of an object with which nothing is wrong."""
    replicas = manifest.get("spec", {}).get("replicas", 0)
    counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "currentReplicas")
    numbers = dict.fromkeys(counts, replicas) | {"observedGeneration": 1}
    return {"Job": DONE, "Deployment": numbers, "StatefulSet": numbers}.get(manifest["kind"], {})


def a_running_stack(stack: AppStack, **replaced: Any) -> Observed:
    """Everything of a stack, made and well."""
    objects = [made(stack, item.manifest, **status_of(item.manifest)) for item in build_stack(stack, a_context())]
    spec = stack.spec
    for component, count in (
        ("postgres", spec.postgres.instances),
        ("redis", spec.redis.replicas),
        ("redis-sentinel", spec.redis.sentinels),
        ("rabbitmq", spec.rabbitmq.replicas),
        ("postgres-pooler", spec.postgres.pooler.replicas if spec.postgres.pooler.enabled else 0),
        ("api", spec.backend.api.replicas),
        ("worker-bulk", 2),
    ):
        objects += pods(stack, component, count)
    return replace(observed(*objects, **healthy_answers(stack)), **replaced)


def with_object(seen: Observed, obj: Object) -> Observed:
    """The same, with one object added or replaced."""
    kind, name = obj["kind"], obj["metadata"]["name"]
    return replace(seen, objects={**seen.objects, kind: {**seen.objects.get(kind, {}), name: obj}})


def without_pods(seen: Observed, component: str) -> Observed:
    """The same, with no pod of a component."""
    left = {pod["metadata"]["name"]: pod for pod in seen.of_kind("Pod") if pod not in seen.pods(component)}
    return replace(seen, objects={**seen.objects, "Pod": left})


def verdicts(stack: AppStack, seen: Observed, work: Work | None = None) -> dict[str, Verdict]:
    return judge(stack, seen, assess_stack(stack, seen, a_context()), work or Work())


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


def alone(state: str) -> PostgresAnswers:
    """A primary without a standby, whose server is in this state."""
    return PostgresAnswers((PostgresMember("shop-postgres-0", role="primary", state=state, timeline=1),))


@pytest.mark.parametrize(
    ("spec", "answers", "is_ready", "reason"),
    [
        pytest.param({}, {"postgres": alone("running")}, True, Reason.HEALTHY, id="commits go on alone"),
        pytest.param(REQUIRED, {"postgres": alone("running")}, False, Reason.NO_SYNC_STANDBY, id="commits wait"),
        pytest.param({}, {"postgres": alone("starting")}, False, Reason.NO_PRIMARY, id="the server starts"),
        pytest.param({}, {"redis": {"connected_replicas": 0}}, False, Reason.REPLICA_MISSING, id="Redis refuses"),
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


def test_an_api_that_nobody_wants_serves_nobody_and_is_no_failure() -> None:
    stack = a_stack(backend={"api": {"replicas": 0}})
    found = verdicts(stack, a_running_stack(stack))
    assert (found["APIReady"].status, found["APIReady"].reason) == ("True", Reason.NOT_DECLARED)
    assert (found["Ready"].status, found["Ready"].reason) == ("False", Reason.NOT_DECLARED)
    assert "spec.backend.api.replicas is 0" in found["Ready"].message


@pytest.mark.parametrize(
    ("status", "age_seconds", "reason"),
    [
        pytest.param("False", 200, Reason.USAGE_UNREADABLE, id="for minutes"),
        pytest.param("False", 100, Reason.HEALTHY, id="the pods are new"),
        pytest.param("True", 200, Reason.HEALTHY, id="it can be measured"),
    ],
)
def test_an_autoscaler_that_is_blind_is_said_and_endangers_nothing(
    status: str, age_seconds: float, reason: Reason
) -> None:
    stack = a_stack(backend={"api": {"autoscaling": {}}})
    since = (NOW - timedelta(seconds=age_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    active = {"type": "ScalingActive", "status": status, "message": "no metrics", "lastTransitionTime": since}
    wanted = (item.manifest for item in build_stack(stack, a_context()))
    scaler = made(stack, next(each for each in wanted if each["kind"] == "HorizontalPodAutoscaler"))
    deployment = with_replicas(stack, 2)
    seen = with_object(a_running_stack(stack), {**scaler, "status": {"conditions": [active]}})
    found = verdicts(stack, with_object(seen, deployment))
    assert found["APIReady"].reason is reason
    assert (found["Ready"].is_true, found["HighlyAvailable"].is_true) == (True, True)


def with_replicas(stack: AppStack, replicas: int) -> Object:
    """The API's Deployment as an autoscaler has set it."""
    wanted = (item.manifest for item in build_stack(stack, a_context()))
    named = next(each for each in wanted if (each["kind"], each["metadata"]["name"]) == ("Deployment", "shop-api"))
    scaled = {**named, "spec": {**named["spec"], "replicas": replicas}}
    return made(stack, scaled, **status_of(scaled))


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
    "spec",
    [
        pytest.param({"postgres": {"instances": 1}}, id="PostgreSQL"),
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


def the_job(stack: AppStack, **status: Any) -> Object:
    wanted = next(item.manifest for item in build_stack(stack, a_context()) if item.manifest["kind"] == "Job")
    return made(stack, wanted, **status)


@pytest.mark.parametrize(
    ("age_seconds", "status", "reason"),
    [
        pytest.param(60, {}, Reason.POD_REFUSED, id="no pod for a minute"),
        pytest.param(5, {}, Reason.MIGRATION_RUNNING, id="it has just begun"),
        pytest.param(60, {"active": 1}, Reason.MIGRATION_RUNNING, id="its pod is only not seen yet"),
        pytest.param(60, {"failed": 1}, Reason.MIGRATION_RUNNING, id="between two tries"),
    ],
)
def test_a_migration_without_a_pod_does_not_run(age_seconds: int, status: dict[str, Any], reason: Reason) -> None:
    stack = a_stack()
    started = (NOW - timedelta(seconds=age_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    job = the_job(stack, startTime=started, **status)
    applied = verdicts(stack, with_object(a_running_stack(stack), job))["MigrationsApplied"]
    assert (applied.status, applied.reason) == ("False", reason)
    assert job["metadata"]["name"] in applied.message


def test_a_failed_migration_leaves_the_stack_ready_and_stalled() -> None:
    stack = a_stack()
    seen = with_object(a_running_stack(stack), the_job(stack, **FAILED))
    found = verdicts(stack, seen)
    assert found["Ready"].is_true
    assert found["MigrationsApplied"].reason is Reason.MIGRATION_FAILED
    assert found["Stalled"].reason is Reason.MIGRATION_FAILED
    assert headline(found).reason is Reason.MIGRATION_FAILED


def test_a_failed_migration_closes_the_gate_to_the_backend() -> None:
    stack = a_stack()
    seen = with_object(a_running_stack(stack), the_job(stack, **FAILED))
    gates = set_gates(assess_stack(stack, seen, a_context()))
    assert gates.is_open(Stage.MIGRATIONS)
    assert not gates.is_open(Stage.BACKEND)
    assert not gates.is_open(Stage.CRON_JOBS)


def test_an_empty_namespace_opens_only_the_first_gates() -> None:
    stack = a_stack()
    gates = set_gates(assess_stack(stack, observed(), a_context()))
    assert [stage for stage in Stage if gates.is_open(stage)] == [
        Stage.CREDENTIALS, Stage.DATA_SERVICES, Stage.ENVIRONMENT,
    ]  # fmt: skip


def test_cron_jobs_wait_for_the_api() -> None:
    stack = a_stack()
    seen = without_pods(a_running_stack(stack), "api")
    gates = set_gates(assess_stack(stack, seen, a_context()))
    assert gates.is_open(Stage.BACKEND)
    assert not gates.is_open(Stage.CRON_JOBS)


def test_cron_jobs_wait_for_the_rollout_of_the_api() -> None:
    stack = a_stack()
    seen = a_running_stack(stack)
    deployment = seen.get("Deployment", "shop-api")
    assert deployment is not None
    status = {**deployment["status"], "replicas": 3, "updatedReplicas": 1}
    gates = set_gates(assess_stack(stack, with_object(seen, {**deployment, "status": status}), a_context()))
    assert not gates.is_open(Stage.CRON_JOBS)


EXTERNAL: dict[str, Any] = {"postgres": {"mode": "External", "external": {"secretName": "theirs"}}}


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        pytest.param(None, Reason.SECRET_MISSING, id="no Secret"),
        pytest.param({"OTHER": "x"}, Reason.SECRET_INVALID, id="a key is missing"),
    ],
)
def test_an_external_service_needs_its_secret(secret: dict[str, str] | None, reason: Reason) -> None:
    stack = a_stack(**EXTERNAL)
    seen = observed(external={"postgres": secret})
    assessment = assess_stack(stack, seen, a_context())
    assert assessment.verdicts["PostgresReady"].reason is reason
    assert "theirs" in assessment.verdicts["PostgresReady"].message
    assert not set_gates(assessment).is_open(Stage.ENVIRONMENT)


def test_a_stack_that_runs_already_survives_the_loss_of_such_a_secret() -> None:
    stack = a_stack(**EXTERNAL)
    found = verdicts(stack, a_running_stack(stack, external={"postgres": None}))
    assert found["Ready"].is_true
    assert found["PostgresReady"].reason is Reason.SECRET_MISSING
    assert found["Stalled"].reason is Reason.SECRET_MISSING


def test_a_foreign_object_is_said_at_its_component_and_stalls() -> None:
    stack = a_stack()
    found = verdicts(stack, a_running_stack(stack), FOREIGN)
    assert found["Ready"].is_true
    assert found["APIReady"].reason is Reason.FOREIGN_OBJECT
    assert found["Stalled"].reason is Reason.FOREIGN_OBJECT


FOREIGN = Work(["create Service shop-api"], {"api": Verdict.false(Reason.FOREIGN_OBJECT, "Service shop-api exists")})


def test_what_stalls_a_start_is_the_thing_to_know() -> None:
    stack = a_stack()
    found = verdicts(stack, observed(**healthy_answers(stack)), FOREIGN)
    assert found["Ready"].reason is Reason.MIGRATION_PENDING
    assert headline(found).reason is Reason.FOREIGN_OBJECT


def test_an_outage_is_the_thing_to_know_even_if_something_stalls() -> None:
    stack = a_stack()
    disputed = tuple(SentinelAnswer(f"shop-redis-sentinel-{i}", master=f"shop-redis-{i}") for i in range(3))
    found = verdicts(stack, a_running_stack(stack, redis=RedisAnswers(disputed)), FOREIGN)
    assert headline(found).reason is Reason.MASTER_DISPUTED


def test_ready_speaks_for_a_generation_only_once_it_is_rolled_out() -> None:
    stack = a_stack()
    found = verdicts(stack, a_running_stack(stack))
    first = build_conditions(found, [], 1, is_settled=True, now=NOW)
    during = build_conditions(found, first, 2, is_settled=False, now=NOW)
    after = build_conditions(found, during, 2, is_settled=True, now=NOW)
    spoken = [next(c for c in each if c.type == "Ready").observed_generation for each in (first, during, after)]
    assert spoken == [1, 1, 2]


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    stack = a_stack()
    found = verdicts(stack, a_running_stack(stack))
    first = build_conditions(found, [], 1, is_settled=True, now=NOW)
    again = build_conditions(found, first, 1, is_settled=True, now=NOW.replace(year=2027))
    assert again == first


def test_an_edited_password_that_is_not_in_force_endangers_nothing() -> None:
    stack = a_stack()
    seen = a_running_stack(stack)
    secret = seen.get("Secret", "shop-redis-auth")
    assert secret is not None
    edited = with_object(seen, {**secret, "data": {"password": "b3RoZXI="}})
    found = verdicts(stack, edited)
    assert found["RedisReady"].reason is Reason.SECRET_INVALID
    assert found["Stalled"].reason is Reason.SECRET_INVALID
    assert found["Ready"].is_true
    assert found["HighlyAvailable"].is_true


SCALED = {"name": "bulk", "queues": ["bulk", "mail"], "autoscaling": {"minReplicas": 1, "maxReplicas": 4}}
FIXED = {"name": "bulk", "queues": ["bulk", "mail"], "replicas": 2}


@pytest.mark.parametrize(
    ("pool", "backlog", "is_blind"),
    [
        pytest.param(SCALED, {"bulk": 3, "mail": None}, True, id="a queue without a leader"),
        pytest.param(SCALED, {"bulk": 3}, False, id="a queue that does not exist is an empty one"),
        pytest.param(SCALED, {"bulk": 3, "mail": 0, "other": None}, False, id="a queue of somebody else's"),
        pytest.param(FIXED, {"bulk": 3, "mail": None}, False, id="nobody is scaled on it"),
    ],
)
def test_a_pool_that_cannot_be_scaled_says_so(
    pool: dict[str, Any], backlog: dict[str, int | None], is_blind: bool
) -> None:
    stack = a_stack(backend={"workers": [pool]})
    seen = a_running_stack(stack)
    found = verdicts(stack, replace(seen, rabbitmq=replace(seen.rabbitmq, backlog=backlog)))
    workers = found["WorkersReady"]
    assert (workers.reason is Reason.BACKLOG_UNREADABLE) is is_blind
    assert ("queue mail has no leader" in workers.message) is is_blind
    assert found["Ready"].is_true, "those that are there work on"


@pytest.mark.parametrize(
    ("answers", "is_blind"),
    [
        pytest.param({"backlog": {"mail": None}, "electing": {"mail"}}, False, id="a leader is being elected"),
        pytest.param({"backlog": {"bulk": None, "mail": None}, "electing": {"mail"}}, True, id="of one of two"),
        pytest.param({"backlog_error": "late", "electing": {""}}, False, id="nothing is told for a moment"),
        pytest.param({"backlog_error": "late"}, True, id="nothing is told for long"),
    ],
)
def test_a_moment_without_a_leader_is_not_told(answers: dict[str, Any], is_blind: bool) -> None:
    stack = a_stack(backend={"workers": [SCALED]})
    seen = a_running_stack(stack)
    workers = verdicts(stack, replace(seen, rabbitmq=replace(seen.rabbitmq, **answers)))["WorkersReady"]
    assert (workers.reason is Reason.BACKLOG_UNREADABLE) is is_blind
    assert workers.is_true is not is_blind
