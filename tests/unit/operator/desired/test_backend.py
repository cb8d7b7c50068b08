"""What the backend's pods look like, with the bundled image and with any other."""

from __future__ import annotations

from typing import Any

import pytest

from appstack_operator.desired.api import build_api
from appstack_operator.desired.backend import cron_jobs_of, migrations_of, workers_of
from appstack_operator.desired.cronjobs import build_cron_jobs
from appstack_operator.desired.environment import connection_variables
from appstack_operator.desired.migrations import build_migrations, job_name
from appstack_operator.desired.stack import build_stack
from appstack_operator.desired.workers import build_workers
from tests.unit.operator.factories import a_context, a_stack

OWN = {"image": "registry.example.com/own:1"}


def container_of(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The first container of the first object of a kind."""
    obj = next(obj for obj in objects if obj["kind"] == kind)
    spec = obj["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else obj["spec"]
    container: dict[str, Any] = spec["template"]["spec"]["containers"][0]
    return container


def pod_specs() -> list[tuple[str, dict[str, Any]]]:
    """(name, pod spec) of everything that an empty spec runs."""
    found = []
    for item in build_stack(a_stack(), a_context()):
        spec = item.manifest.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template:
            found.append((f"{item.manifest['kind']} {item.manifest['metadata']['name']}", template["spec"]))
    return found


def test_an_empty_spec_is_a_complete_stack() -> None:
    stack = a_stack()
    assert [(pool.name, pool.queues, pool.replicas) for pool in workers_of(stack)] == [
        ("bulk", ["bulk", "notifications"], 2)
    ]
    assert "purge-expired" in [job.name for job in cron_jobs_of(stack)]
    assert migrations_of(stack) is not None


def test_an_image_of_ones_own_runs_only_what_is_declared() -> None:
    stack = a_stack(backend=OWN)
    assert (workers_of(stack), cron_jobs_of(stack), migrations_of(stack)) == ((), (), None)


def test_a_declared_migration_of_ones_own_image_runs() -> None:
    assert build_migrations(a_stack(backend=OWN | {"migrations": {}}), a_context())


@pytest.mark.parametrize(
    ("build", "kind", "args"),
    [
        (build_api, "Deployment", ["api"]),
        (build_workers, "Deployment", ["worker", "--queues", "bulk,notifications"]),
        (build_migrations, "Job", ["migrate"]),
        (build_cron_jobs, "CronJob", ["job", "purge-expired"]),
    ],
)
def test_without_command_and_args_the_contract_names_the_args(build: Any, kind: str, args: list[str]) -> None:
    container = container_of(build(a_stack(), a_context()), kind)
    assert container["args"] == args
    assert "command" not in container


def test_a_command_of_ones_own_is_left_alone() -> None:
    stack = a_stack(backend=OWN | {"api": {"command": ["gunicorn"], "args": []}})
    container = container_of(build_api(stack, a_context()), "Deployment")
    assert (container["command"], container["args"]) == (["gunicorn"], [])


def test_the_users_env_wins_and_may_refer_to_ours() -> None:
    env = [{"name": "REDIS_URL", "value": "redis://other"}, {"name": "DSN", "value": "$(DATABASE_URL)?x=1"}]
    container = container_of(build_api(a_stack(backend={"env": env}), a_context()), "Deployment")
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names)), "the API server refuses a name that comes twice"
    assert {"name": "REDIS_URL", "value": "redis://other"} in container["env"]
    assert names.index("DATABASE_URL") < names.index("DSN"), "only what stands before can be expanded"


def test_the_contracts_variables_are_all_there() -> None:
    container = container_of(build_api(a_stack(), a_context()), "Deployment")
    assert {entry["name"] for entry in container["env"]} >= {
        "DATABASE_URL", "DATABASE_READONLY_URL", "REDIS_SENTINELS", "REDIS_SENTINEL_MASTER", "REDIS_PASSWORD",
        "REDIS_URL", "RABBITMQ_URL", "APPSTACK_NAME", "APPSTACK_COMPONENT", "POD_NAME", "POD_NAMESPACE",
        "API_ADMIN_TOKEN",
    }  # fmt: skip


def test_with_a_pooler_only_the_migration_goes_straight_to_the_primary() -> None:
    stack = a_stack(postgres={"pooler": {"enabled": True}})
    sources = {
        name: next(entry for entry in container_of(objects, kind)["env"] if entry["name"] == "DATABASE_URL")
        for name, objects, kind in (
            ("migrate", build_migrations(stack, a_context()), "Job"),
            ("api", build_api(stack, a_context()), "Deployment"),
        )
    }
    assert sources["migrate"]["valueFrom"]["secretKeyRef"] == {"name": "shop-postgres-app", "key": "uri"}
    assert sources["api"]["valueFrom"]["secretKeyRef"] == {"name": "shop-env", "key": "DATABASE_URL"}


def test_another_password_restarts_the_pods() -> None:
    def checksum(password: str) -> str:
        context = a_context()
        changed = type(context.credentials)(
            **{field: getattr(context.credentials, field) for field in context.credentials.__dataclass_fields__}
            | {"redis": password}
        )
        deployment = build_api(a_stack(), a_context(credentials=changed))[-1]
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["appstack.dev/env-checksum"])

    assert checksum("a") != checksum("b")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"image": "own:2"}, id="image"),
        pytest.param({"image": "own:1", "env": [{"name": "A", "value": "1"}]}, id="env"),
        pytest.param({"image": "own:1", "migrations": {"args": ["up"]}}, id="args"),
        pytest.param({"image": "own:1", "migrations": {"command": ["up"]}}, id="command"),
    ],
)
def test_other_work_is_another_migration_job(change: dict[str, Any]) -> None:
    before = a_stack(backend={"image": "own:1", "migrations": {}})
    after = a_stack(backend={"migrations": {}, **change})
    assert job_name(before, a_context()) != job_name(after, a_context())


def test_more_replicas_are_not_another_migration() -> None:
    before, after = a_stack(), a_stack(backend={"api": {"replicas": 5}})
    assert job_name(before, a_context()) == job_name(after, a_context())


@pytest.mark.parametrize(("build", "name"), [(build_api, "shop-api"), (build_workers, "shop-worker-bulk")])
def test_pods_are_replaced_one_by_one_and_drained_one_by_one(build: Any, name: str) -> None:
    """Whatever the image does when it starts and stops."""
    objects = {obj["kind"]: obj for obj in build(a_stack(), a_context()) if obj["metadata"]["name"] == name}
    deployment, budget = objects["Deployment"]["spec"], objects["PodDisruptionBudget"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] == 60
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]


@pytest.mark.parametrize("spec", [{}, {"backend": {**OWN, "workers": [{"name": "bulk"}]}}], ids=["bundled", "own"])
def test_what_crashes_soon_after_its_start_takes_nobodys_place(spec: dict[str, Any]) -> None:
    """Kubernetes takes an old pod away for each new one that is available: ready for minReadySeconds without a crash.

    Without them a pod without a probe is available as soon as its container runs.
    """
    objects = [*build_api(a_stack(**spec), a_context()), *build_workers(a_stack(**spec), a_context())]
    steady = {each["metadata"]["name"]: each["spec"]["minReadySeconds"] for each in objects if is_deployment(each)}
    assert steady["shop-api"] == 5
    assert steady["shop-worker-bulk"] == 10


def is_deployment(obj: dict[str, Any]) -> bool:
    return bool(obj["kind"] == "Deployment")


def test_an_api_pod_pauses_before_it_stops_so_that_no_request_meets_a_closed_door() -> None:
    container = container_of(build_api(a_stack(backend=OWN), a_context()), "Deployment")
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_with_autoscaling_the_number_of_api_pods_is_the_hpas() -> None:
    objects = build_api(a_stack(backend={"api": {"autoscaling": {}}}), a_context())
    deployment = next(obj for obj in objects if obj["kind"] == "Deployment")
    assert "replicas" not in deployment["spec"]
    assert any(obj["kind"] == "HorizontalPodAutoscaler" for obj in objects)
    # But zero: there an autoscaler does nothing, for ever.
    objects = build_api(a_stack(backend={"api": {"autoscaling": {"minReplicas": 3}}}), a_context(api_is_at_zero=True))
    deployment = next(obj for obj in objects if obj["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 3


@pytest.mark.parametrize(("name", "spec"), pod_specs())
def test_every_container_has_requests_and_limits(name: str, spec: dict[str, Any]) -> None:
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][bound].keys(), f"{name}: {container['name']}"


@pytest.mark.parametrize(("name", "spec"), pod_specs())
def test_every_pod_is_restricted(name: str, spec: dict[str, Any]) -> None:
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["enableServiceLinks"] is False
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]


def test_names_never_collide_and_fit() -> None:
    stack = a_stack(name="s" * 30, cronJobs=[{"name": "j" * 21, "schedule": "@daily"}])
    refs = [(item.manifest["kind"], item.manifest["metadata"]["name"]) for item in build_stack(stack, a_context())]
    assert len(refs) == len(set(refs))
    assert max(len(name) for kind, name in refs if kind == "CronJob") <= 52
    assert max(len(name) for _, name in refs) <= 63


@pytest.mark.parametrize(
    ("is_door", "service"),
    [
        pytest.param(True, "shop-postgres-pooler", id="the pooler takes connections"),
        pytest.param(False, "shop-postgres-rw", id="not yet"),
    ],
)
def test_connections_go_through_a_pooler_once_it_takes_them(is_door: bool, service: str) -> None:
    stack = a_stack(postgres={"pooler": {"enabled": True}})
    variables = connection_variables(stack, a_context(pooler_is_door=is_door))
    assert f"@{service}.shop.svc" in variables["DATABASE_URL"]
