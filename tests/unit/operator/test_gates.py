"""What must stand before what, from the verdicts about what stands."""

from __future__ import annotations

from appstack_operator.assess.stack import assess_stack
from appstack_operator.desired.stack import Stage
from appstack_operator.gates import set_gates
from tests.unit.operator.factories import a_context, a_stack, observed
from tests.unit.operator.running import FAILED, a_running_stack, the_job, with_object, without_pods


def test_an_empty_namespace_opens_only_the_first_gates() -> None:
    stack = a_stack()
    gates = set_gates(assess_stack(stack, observed(), a_context()))
    assert [stage for stage in Stage if gates.is_open(stage)] == [
        Stage.CREDENTIALS, Stage.DATA_SERVICES, Stage.ENVIRONMENT,
    ]  # fmt: skip


def test_a_failed_migration_closes_the_gate_to_the_backend() -> None:
    stack = a_stack()
    seen = with_object(a_running_stack(stack), the_job(stack, **FAILED))
    gates = set_gates(assess_stack(stack, seen, a_context()))
    assert gates.is_open(Stage.MIGRATIONS)
    assert not gates.is_open(Stage.BACKEND)
    assert not gates.is_open(Stage.CRON_JOBS)


def test_cron_jobs_wait_for_the_api() -> None:
    stack = a_stack()
    seen = without_pods(a_running_stack(stack), "api")
    gates = set_gates(assess_stack(stack, seen, a_context()))
    assert gates.is_open(Stage.BACKEND)
    assert not gates.is_open(Stage.CRON_JOBS)


def test_cron_jobs_wait_for_no_api_that_nobody_wants() -> None:
    """A backend of workers and scheduled jobs alone: its jobs were never made."""
    stack = a_stack(backend={"api": {"replicas": 0}})
    assert set_gates(assess_stack(stack, a_running_stack(stack), a_context())).is_open(Stage.CRON_JOBS)


def test_cron_jobs_wait_for_the_rollout_of_the_api() -> None:
    stack = a_stack()
    seen = a_running_stack(stack)
    deployment = seen.get("Deployment", "shop-api")
    assert deployment is not None
    status = {**deployment["status"], "replicas": 3, "updatedReplicas": 1}
    gates = set_gates(assess_stack(stack, with_object(seen, {**deployment, "status": status}), a_context()))
    assert not gates.is_open(Stage.CRON_JOBS)
