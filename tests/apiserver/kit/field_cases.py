"""What each field of the spec changes: the change, the object in which it shows, where in it, and its value then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

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
# What comes before a change in the empty namespace, where it is not BASE.
FORMER = {"postgres.pooler.replicas": {**BASE, "postgres": {"pooler": {"enabled": True}}}}
