"""Every field of the spec does something: each is changed on a live object, and what it changes is looked at.

The fields come from the CRD. One without a case here fails the test, and so does a case without a field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.api import AppStack
from appstack_operator.api.crd import build_schema
from appstack_operator.kinds import BY_NAME, STACK
from appstack_operator.observed import RabbitmqAnswers, RabbitmqNode
from appstack_operator.plugin.differences import ABSENT, compare_manifests, parsed
from appstack_operator.plugin.differences import KEYS as ITEM_KEYS
from appstack_operator.scaling import Need, ScalingMemory, scale_workers
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.convergence import Convergence
from tests.apiserver.kit.plugin import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from appstack_operator.objects import Object
    from tests.apiserver.kit.server import BareCluster

ROOT = Path(__file__).parents[2]
MANAGED, EXTERNAL, EMPTY = "fields-managed", "fields-external", "fields-empty"
BASE: dict[str, Any] = {
    "backend": {
        "image": "shop:1",
        "env": [{"name": "A", "value": "1"}],
        "migrations": {"enabled": True},
        "workers": [{"name": "bulk", "queues": ["bulk"]}],
    },
    "cronJobs": [{"name": "nightly", "schedule": "@daily"}],
    "scheduling": {"tolerations": [{"key": "a", "value": "b"}]},
}
OUTSIDE: dict[str, Any] = {
    **BASE,
    **{
        name: {"mode": "External", "external": {"secretName": f"our-{name}"}}
        for name in ("postgres", "redis", "rabbitmq")
    },
}
KEYS = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "rabbitmq": "RABBITMQ_URL"}


@dataclass(frozen=True, slots=True)
class Case:
    """A change of one field, the object in which it shows, where in it, and what is there then."""

    field: str
    change: dict[str, Any]
    target: str  # Kind name
    path: str  # as a plan writes it; empty: the object itself comes or goes
    value: Any = None
    namespace: str = MANAGED


def worker(**fields: Any) -> dict[str, Any]:
    return {"backend": {"workers": [{"name": "bulk", "queues": ["bulk"], **fields}]}}


def cron_job(**fields: Any) -> dict[str, Any]:
    return {"cronJobs": [{"name": "nightly", "schedule": "@daily", **fields}]}


def toleration(**fields: Any) -> dict[str, Any]:
    return {"scheduling": {"tolerations": [fields]}}


API, WORKER = "Deployment shop-api", "Deployment shop-worker-bulk"
CRON, JOB = "CronJob shop-nightly", "Job shop-migrate-HASH"
POSTGRES, REDIS = "StatefulSet shop-postgres", "StatefulSet shop-redis"
SENTINEL, RABBITMQ = "StatefulSet shop-redis-sentinel", "StatefulSet shop-rabbitmq"
POOLER = "Deployment shop-postgres-pooler"
POD = "spec.template.spec"
IN_API, IN_WORKER = f"{POD}.containers[api]", f"{POD}.containers[worker]"
IN_RUN = f"spec.jobTemplate.{POD}.containers[job]"
IN_JOB = f"{POD}.containers[migrate]"
CONFIG = "metadata.annotations.config"
AUTOSCALED = {"minReplicas": 3, "maxReplicas": 7, "targetCPUUtilizationPercentage": 55}
BIG = {"cpu": "3", "memory": "3Gi"}

SIMPLE = [
    Case("deletionPolicy", {"deletionPolicy": "Delete"}, POSTGRES,
         "spec.persistentVolumeClaimRetentionPolicy.whenDeleted", "Delete"),
    Case("backend.image", {"backend": {"image": "shop:2"}}, API, f"{IN_API}.image", "shop:2"),
    Case("backend.imagePullPolicy", {"backend": {"imagePullPolicy": "Always"}}, API,
         f"{IN_API}.imagePullPolicy", "Always"),
    Case("backend.imagePullSecrets[].name", {"backend": {"imagePullSecrets": [{"name": "r"}]}}, API,
         f"{POD}.imagePullSecrets", [{"name": "r"}]),
    Case("networkPolicy.enabled", {"networkPolicy": {"enabled": False}}, "NetworkPolicy shop-api", ""),
    Case("backend.migrations.enabled", {"backend": {"migrations": {"enabled": False}}}, JOB, ""),
    Case("backend.migrations.command", {"backend": {"migrations": {"command": ["m"]}}}, JOB,
         f"{IN_JOB}.command", ["m"]),
    Case("backend.migrations.args", {"backend": {"migrations": {"args": ["up"]}}}, JOB, f"{IN_JOB}.args", ["up"]),
    Case("backend.migrations.timeoutSeconds", {"backend": {"migrations": {"timeoutSeconds": 9}}}, JOB,
         "spec.activeDeadlineSeconds", 9),
    Case("backend.api.replicas", {"backend": {"api": {"replicas": 5}}}, API, "spec.replicas", 5),
    Case("backend.api.port", {"backend": {"api": {"port": 81}}}, API, f"{IN_API}.env[PORT].value", "81"),
    Case("backend.api.command", {"backend": {"api": {"command": ["c"]}}}, API, f"{IN_API}.command", ["c"]),
    Case("backend.api.args", {"backend": {"api": {"args": ["x"]}}}, API, f"{IN_API}.args", ["x"]),
    Case("backend.api.resources.requests", {"backend": {"api": {"resources": {"requests": BIG}}}}, API,
         f"{IN_API}.resources.requests.memory", "3Gi"),
    Case("backend.api.resources.limits", {"backend": {"api": {"resources": {"limits": BIG}}}}, API,
         f"{IN_API}.resources.limits.cpu", "3"),
    Case("backend.api.livenessPath", {"backend": {"api": {"livenessPath": "/l"}}}, API,
         f"{IN_API}.livenessProbe.httpGet.path", "/l"),
    Case("backend.api.readinessPath", {"backend": {"api": {"readinessPath": "/r"}}}, API,
         f"{IN_API}.readinessProbe.httpGet.path", "/r"),
    Case("backend.workers[].name", {"backend": {"workers": [{"name": "other"}]}}, "Deployment shop-worker-other", ""),
    Case("backend.workers[].queues", worker(queues=["a", "b"]), WORKER,
         f"{IN_WORKER}.args", ["worker", "--queues", "a,b"]),
    Case("backend.workers[].replicas", worker(replicas=4), WORKER, "spec.replicas", 4),
    Case("backend.workers[].command", worker(command=["c"]), WORKER, f"{IN_WORKER}.command", ["c"]),
    Case("backend.workers[].args", worker(args=["x"]), WORKER, f"{IN_WORKER}.args", ["x"]),
    Case("backend.workers[].resources.requests", worker(resources={"requests": BIG}), WORKER,
         f"{IN_WORKER}.resources.requests.cpu", "3"),
    Case("backend.workers[].resources.limits", worker(resources={"limits": BIG}), WORKER,
         f"{IN_WORKER}.resources.limits.memory", "3Gi"),
    Case("backend.workers[].terminationGracePeriodSeconds", worker(terminationGracePeriodSeconds=7), WORKER,
         f"{POD}.terminationGracePeriodSeconds", 7),
    Case("cronJobs[].name", {"cronJobs": [{"name": "other", "schedule": "@daily"}]}, "CronJob shop-other", ""),
    Case("cronJobs[].schedule", cron_job(schedule="@hourly"), CRON, "spec.schedule", "@hourly"),
    Case("cronJobs[].timeZone", cron_job(timeZone="Europe/Berlin"), CRON, "spec.timeZone", "Europe/Berlin"),
    Case("cronJobs[].command", cron_job(command=["c"]), CRON, f"{IN_RUN}.command", ["c"]),
    Case("cronJobs[].args", cron_job(args=["x"]), CRON, f"{IN_RUN}.args", ["x"]),
    Case("cronJobs[].suspend", cron_job(suspend=True), CRON, "spec.suspend", True),
    Case("cronJobs[].concurrencyPolicy", cron_job(concurrencyPolicy="Replace"), CRON,
         "spec.concurrencyPolicy", "Replace"),
    Case("cronJobs[].startingDeadlineSeconds", cron_job(startingDeadlineSeconds=11), CRON,
         "spec.startingDeadlineSeconds", 11),
    Case("cronJobs[].activeDeadlineSeconds", cron_job(activeDeadlineSeconds=12), CRON,
         "spec.jobTemplate.spec.activeDeadlineSeconds", 12),
    Case("cronJobs[].resources.requests", cron_job(resources={"requests": BIG}), CRON,
         f"{IN_RUN}.resources.requests.cpu", "3"),
    Case("cronJobs[].resources.limits", cron_job(resources={"limits": BIG}), CRON,
         f"{IN_RUN}.resources.limits.memory", "3Gi"),
    Case("postgres.mode", OUTSIDE, POSTGRES, "", namespace=EMPTY),
    Case("postgres.instances", {"postgres": {"instances": 3}}, POSTGRES, "spec.replicas", 3),
    Case("postgres.synchronousReplication", {"postgres": {"synchronousReplication": "Required"}},
         "ConfigMap shop-postgres-config", f"{CONFIG}.synchronous_mode_strict", True),
    Case("postgres.earlyFailover", {"postgres": {"earlyFailover": False}}, POSTGRES,
         f"{POD}.containers[postgres].env[EARLY_FAILOVER_SECONDS].value", "0"),
    Case("postgres.pooler.enabled", {"postgres": {"pooler": {"enabled": True}}}, POOLER, ""),
    Case("postgres.pooler.replicas", {**BASE, "postgres": {"pooler": {"enabled": True, "replicas": 3}}}, POOLER,
         "spec.replicas", 3, EMPTY),
    Case("postgres.storage.size", {"postgres": {"storage": {"size": "20Gi"}}}, POSTGRES,
         "spec.volumeClaimTemplates[0].spec.resources.requests.storage", "20Gi"),
    Case("postgres.storage.storageClassName", {**BASE, "postgres": {"storage": {"storageClassName": "fast"}}}, POSTGRES,
         "spec.volumeClaimTemplates[0].spec.storageClassName", "fast", EMPTY),
    Case("postgres.parameters", {"postgres": {"parameters": {"work_mem": "9MB"}}}, "ConfigMap shop-postgres-config",
         f"{CONFIG}.postgresql.parameters.work_mem", "9MB"),
    Case("postgres.resources.requests", {"postgres": {"resources": {"requests": {"cpu": "1"}}}}, POSTGRES,
         f"{POD}.containers[postgres].resources.requests.cpu", "1"),
    Case("postgres.resources.limits", {"postgres": {"resources": {"limits": BIG}}}, POSTGRES,
         f"{POD}.containers[postgres].resources.limits.memory", "3Gi"),
    Case("redis.mode", OUTSIDE, REDIS, "", namespace=EMPTY),
    Case("redis.replicas", {"redis": {"replicas": 1}}, REDIS, "spec.replicas", 1),
    Case("redis.sentinels", {"redis": {"sentinels": 1}}, SENTINEL, "spec.replicas", 1),
    Case("redis.maxMemory", {"redis": {"maxMemory": "512Mi"}}, REDIS,
         f"{POD}.containers[redis].resources.limits.memory", "1152Mi"),
    Case("redis.storage.size", {"redis": {"storage": {"size": "2Gi"}}}, REDIS,
         "spec.volumeClaimTemplates[0].spec.resources.requests.storage", "2Gi"),
    Case("redis.storage.storageClassName", {**BASE, "redis": {"storage": {"storageClassName": "fast"}}}, REDIS,
         "spec.volumeClaimTemplates[0].spec.storageClassName", "fast", EMPTY),
    Case("redis.resources.requests", {"redis": {"resources": {"requests": {"cpu": "1"}}}}, REDIS,
         f"{POD}.containers[redis].resources.requests.cpu", "1"),
    Case("redis.resources.limits", {"redis": {"resources": {"limits": BIG}}}, REDIS,
         f"{POD}.containers[redis].resources.limits.memory", "3Gi"),
    Case("rabbitmq.mode", OUTSIDE, RABBITMQ, "", namespace=EMPTY),
    Case("rabbitmq.replicas", {"rabbitmq": {"replicas": 5}}, RABBITMQ, "spec.replicas", 5),
    Case("rabbitmq.storage.size", {"rabbitmq": {"storage": {"size": "9Gi"}}}, RABBITMQ,
         "spec.volumeClaimTemplates[0].spec.resources.requests.storage", "9Gi"),
    Case("rabbitmq.storage.storageClassName", {**BASE, "rabbitmq": {"storage": {"storageClassName": "fast"}}}, RABBITMQ,
         "spec.volumeClaimTemplates[0].spec.storageClassName", "fast", EMPTY),
    Case("rabbitmq.resources.requests", {"rabbitmq": {"resources": {"requests": {"cpu": "1"}}}}, RABBITMQ,
         f"{POD}.containers[rabbitmq].resources.requests.cpu", "1"),
    Case("rabbitmq.resources.limits", {"rabbitmq": {"resources": {"limits": BIG}}}, RABBITMQ,
         f"{POD}.containers[rabbitmq].resources.limits.memory", "3Gi"),
    Case("scheduling.spread", {"scheduling": {"spread": "Required"}}, REDIS,
         f"{POD}.topologySpreadConstraints[0].whenUnsatisfiable", "DoNotSchedule"),
    Case("scheduling.nodeSelector", {"scheduling": {"nodeSelector": {"disk": "fast"}}}, RABBITMQ, f"{POD}.nodeSelector",
         {"disk": "fast"}),
    Case("scheduling.priorityClassName", {"scheduling": {"priorityClassName": "high"}}, SENTINEL,
         f"{POD}.priorityClassName", "high"),
]  # fmt: skip


def cases_of_autoscaling() -> Iterator[Case]:
    """The HPA of the API."""
    change = {"backend": {"api": {"autoscaling": AUTOSCALED}}}
    for name in AUTOSCALED:
        yield Case(f"backend.api.autoscaling.{name}", change, "HorizontalPodAutoscaler shop-api", "")


def cases_of_variables() -> Iterator[Case]:
    """Each way to give a variable, for all containers and for one pool."""
    sources: dict[str, dict[str, Any]] = {
        "secretKeyRef": {"name": "s", "key": "k", "optional": True},
        "configMapKeyRef": {"name": "s", "key": "k", "optional": True},
        "fieldRef": {"fieldPath": "status.hostIP", "apiVersion": "v1"},
        "resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"},
    }
    places = (
        ("backend.env[]", lambda item: {"backend": {"env": [item]}}, API, IN_API),
        ("backend.workers[].env[]", lambda item: worker(env=[item]), WORKER, IN_WORKER),
    )
    for field, change, target, container in places:
        named = {"name": "B", "value": "2"}
        yield Case(f"{field}.name", change(named), target, f"{container}.env[B]", named)
        yield Case(f"{field}.value", change({"name": "A", "value": "2"}), target, f"{container}.env[A].value", "2")
        for source, content in sources.items():
            variable = {"name": "B", "valueFrom": {source: content}}
            for leaf in content:
                path = f"{field}.valueFrom.{source}.{leaf}"
                yield Case(path, change(variable), target, f"{container}.env[B]", variable)


def cases_of_sources() -> Iterator[Case]:
    """Secrets and ConfigMaps whose keys become variables."""
    for kind in ("secretRef", "configMapRef"):
        source = {"prefix": "P_", kind: {"name": "s", "optional": True}}
        change = {"backend": {"envFrom": [source]}}
        for leaf in ("prefix", f"{kind}.name", f"{kind}.optional"):
            yield Case(f"backend.envFrom[].{leaf}", change, API, f"{IN_API}.envFrom", [source])


def cases_of_tolerations() -> Iterator[Case]:
    """All parts of a toleration, in the pods of a data service."""
    full = {"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 3}
    for leaf in full:
        yield Case(f"scheduling.tolerations[].{leaf}", toleration(**full), RABBITMQ, f"{POD}.tolerations[k]", full)


def cases_of_external() -> Iterator[Case]:
    """Another Secret gives another address to the backend."""
    for name in KEYS:
        change = {name: {"external": {"secretName": f"other-{name}"}}}
        yield Case(f"{name}.external.secretName", change, "Secret shop-env", f"data.{KEYS[name]}", None, EXTERNAL)


CASES = [
    *SIMPLE,
    *cases_of_autoscaling(),
    *cases_of_variables(),
    *cases_of_sources(),
    *cases_of_tolerations(),
    *cases_of_external(),
]
# Shown where it takes effect: field -> a test of this file or another one.
# What comes before a change in the empty namespace, where it is not BASE.
FORMER = {"postgres.pooler.replicas": {**BASE, "postgres": {"pooler": {"enabled": True}}}}
HERE = "tests/apiserver/test_fields.py"
ELSEWHERE: dict[str, str] = {
    "paused": f"{HERE}::test_a_paused_stack_is_left_alone",
    "postgres.pooler.poolMode": f"{HERE}::test_how_the_pooler_shares_connections_stands_in_its_configuration",
    "monitoring.enabled": (
        "tests/apiserver/test_optional_kinds.py::test_monitoring_objects_are_made_once_their_kinds_exist"
    ),
    "redis.maxMemoryPolicy": f"{HERE}::test_what_redis_gives_up_stands_in_its_configuration",
    **{
        f"backend.workers[].autoscaling.{name}": f"{HERE}::test_workers_are_scaled_as_the_spec_says"
        for name in ("minReplicas", "maxReplicas", "messagesPerReplica", "scaleDownStabilizationSeconds")
    },
}


def leaves(schema: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields that have none inside."""
    inner = schema.get("items", schema)
    if "properties" not in inner:
        yield path
        return
    suffix = "[]" if "items" in schema else ""
    for name, part in inner["properties"].items():
        yield from leaves(part, f"{path}{suffix}.{name}" if path else name)


def test_every_field_has_a_case() -> None:
    known = {case.field for case in CASES} | ELSEWHERE.keys()
    assert set(leaves(build_schema()["properties"]["spec"])) == known


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_the_tests_elsewhere_exist(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()


@pytest.fixture(scope="module")
def client(cluster: BareCluster) -> Iterator[httpx.Client]:
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="module")
def convergence(cluster: BareCluster, client: httpx.Client, folder: Path) -> Iterator[Convergence]:
    """Two live stacks, one with services of its own, one bound to services of others; and an empty namespace."""
    for namespace in (MANAGED, EXTERNAL, EMPTY):
        client.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
        for who in ("our", "other"):
            for name, key in KEYS.items():
                secret = {"metadata": {"name": f"{who}-{name}"}, "stringData": {key: f"{name}://{who}"}}
                client.post(BY_NAME["Secret"].path(namespace), json=secret).raise_for_status()
    with Convergence.to(write_kubeconfig(cluster, folder / "fields.kubeconfig")) as convergence:
        for namespace, spec in ((MANAGED, BASE), (EXTERNAL, OUTSIDE)):
            client.post(STACK.path(namespace), json=a_manifest(spec)).raise_for_status()
            convergence.reach(namespace)
        yield convergence


def a_manifest(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": "shop"}, "spec": spec}


def changed(client: httpx.Client, namespace: str, change: dict[str, Any]) -> AppStack:
    """The live stack as the API server would make it with a change; in the empty namespace a new one."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    if namespace == EMPTY:
        answer = client.post(STACK.path(EMPTY), json=a_manifest(change), params=query)
    else:
        path = STACK.path(namespace, "shop")
        answer = client.patch(path, json={"spec": change}, headers=MERGE, params=query)
    assert answer.is_success, answer.text
    return AppStack.model_validate(answer.json())


def by_target(objects: list[Object]) -> dict[str, Object]:
    """`Kind name` -> manifest; the hash in a Job's name is left out."""
    found = {}
    for obj in objects:
        name = obj["metadata"]["name"]
        found[f"{obj['kind']} {'shop-migrate-HASH' if obj['kind'] == 'Job' else name}"] = obj
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.field)
def test_a_field_does_what_it_says(client: httpx.Client, convergence: Convergence, case: Case) -> None:
    former = changed(client, case.namespace, FORMER.get(case.field, BASE) if case.namespace == EMPTY else {})
    before = by_target(convergence.desired(former))
    after = by_target(convergence.desired(changed(client, case.namespace, case.change)))
    if not case.path:
        assert (case.target in before) is not (case.target in after), "the object must come or go"
        if case.field.startswith("backend.api.autoscaling"):
            leaf, spec = case.field.rpartition(".")[2], after[case.target]["spec"]
            told = {
                **spec,
                "targetCPUUtilizationPercentage": spec["metrics"][0]["resource"]["target"]["averageUtilization"],
            }
            assert told[leaf] == AUTOSCALED[leaf]
        return
    found = {each.path: each for each in compare_manifests(before[case.target], after[case.target])}
    if case.namespace == EXTERNAL:
        assert case.path in found, "the value itself is not shown"
        return
    assert value_at(after[case.target], case.path) == case.value
    assert value_at(before[case.target], case.path) != case.value
    assert found


def value_at(manifest: Object, path: str) -> Any:
    """What stands at a path: items of lists by their key or place; JSON in texts is read."""
    value: Any = manifest
    for step in path.replace("]", "").replace("[", ".\0").split("."):
        inside = parsed(value)
        value = value if inside is ABSENT else inside
        if step.startswith("\0") and isinstance(value, list):
            name = step[1:]
            items = [item for item in value if name in (str(item.get(key)) for key in ITEM_KEYS)]
            value = value[int(name)] if name.isdigit() and len(value) > int(name) else next(iter(items), ABSENT)
        elif isinstance(value, dict):
            value = value.get(step.removeprefix("\0"), ABSENT)
        else:
            return ABSENT
    return value


def test_what_redis_gives_up_stands_in_its_configuration(client: httpx.Client, convergence: Convergence) -> None:
    stack = changed(client, MANAGED, {"redis": {"maxMemoryPolicy": "noeviction"}})
    written = by_target(convergence.desired(stack))["ConfigMap shop-redis"]["data"]["redis.conf"]
    assert "maxmemory-policy noeviction" in written


def test_how_the_pooler_shares_connections_stands_in_its_configuration(
    client: httpx.Client, convergence: Convergence
) -> None:
    stack = changed(client, MANAGED, {"postgres": {"pooler": {"enabled": True, "poolMode": "session"}}})
    written = by_target(convergence.desired(stack))["ConfigMap shop-postgres-pooler"]["data"]
    assert "pool_mode = session" in "\n".join(written.values())


def test_workers_are_scaled_as_the_spec_says(client: httpx.Client, convergence: Convergence) -> None:
    def workers(backlog: int, before: int = 0, age_seconds: int = 0, **bounds: int) -> int:
        stack = changed(client, MANAGED, worker(autoscaling={"minReplicas": 0, "maxReplicas": 20, **bounds}))
        seen = convergence.observed(stack)
        answers = RabbitmqAnswers(nodes=(RabbitmqNode("a", "a", is_running=True),), backlog={"bulk": backlog})
        need = Need(seen.now - timedelta(seconds=age_seconds), before)
        memory = ScalingMemory({(MANAGED, "shop", "bulk"): [need]})
        return scale_workers(stack, replace(seen, rabbitmq=answers), memory)["bulk"]

    assert (workers(100), workers(100, messagesPerReplica=20)) == (10, 5)
    assert (workers(0), workers(0, minReplicas=3)) == (0, 3)
    assert (workers(1000), workers(1000, maxReplicas=7)) == (20, 7)
    assert workers(0, before=9, age_seconds=30, scaleDownStabilizationSeconds=60) == 9
    assert workers(0, before=9, age_seconds=30, scaleDownStabilizationSeconds=10) == 0


def test_a_paused_stack_is_left_alone(client: httpx.Client, convergence: Convergence) -> None:
    client.post("/api/v1/namespaces", json={"metadata": {"name": "fields-paused"}}).raise_for_status()
    spec = {**BASE, "paused": True}
    client.post(STACK.path("fields-paused"), json=a_manifest(spec)).raise_for_status()
    convergence.real_pass("fields-paused")
    assert convergence.objects("fields-paused") == []
    path = STACK.path("fields-paused", "shop")
    client.patch(path, json={"spec": {"paused": False}}, headers=MERGE).raise_for_status()
    convergence.real_pass("fields-paused")
    assert convergence.objects("fields-paused") != []
