"""Draws valid specs of AppStacks from the CRD's own schema, for property tests.

What the schema does not say (rules over several fields, formats) stands here: OVERRIDES and `mend`.
"""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from appstack_operator.api.crd import build_schema

Spec = dict[str, Any]
Strategy = st.SearchStrategy[Any]

LABELS = st.from_regex(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?", fullmatch=True)
QUANTITIES = st.sampled_from(["1Gi", "1500M", "2e9", "3Gi"])
RESOURCES = [
    {},
    {"requests": {"cpu": 1, "memory": "600Mi"}},
    {"limits": {"cpu": "20m", "memory": "400Mi"}},
    {"requests": {"cpu": "250m"}, "limits": {"cpu": 3, "memory": "2Gi", "example.com/gpu": 1}},
    {"requests": {"ephemeral-storage": "1Gi"}, "limits": {"memory": "1e9"}},
]
VARIABLES = [
    {"name": "PLAIN", "value": "x"},
    {"name": "EMPTY", "value": ""},
    {"name": "EXPANDED", "value": "$(DATABASE_URL)?a=b"},
    {"name": "DATABASE_URL", "value": "postgresql://elsewhere/app"},
    {"name": "with.dots-and-dashes", "value": "1"},
    {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "some", "key": "k", "optional": True}}},
    {"name": "FROM_CONFIG", "valueFrom": {"configMapKeyRef": {"name": "some", "key": "k.yml"}}},
    {"name": "FROM_FIELD", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
    {"name": "FROM_LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
]
TOLERATIONS = [
    {"operator": "Exists"},
    {"key": "dedicated", "value": "shop", "effect": "NoSchedule"},
    {"key": "example.com/gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9},
]
SCHEDULES = ["@daily", "@every 90m", "*/15 0-6,22 1 JAN-mar,12 mon-fri", "17 * * * *", "0 0 31 12 0"]
PARAMETERS = {"work_mem": "8MB", "max_connections": 300, "random_page_cost": "1.1", "auto_explain.log_min_duration": 5}
SOURCES = [{"secretRef": {"name": "some"}}, {"prefix": "P_", "configMapRef": {"name": "some", "optional": True}}]


def some(choices: list[Any], *, most: int = 3) -> Strategy:
    """A few different ones of these."""
    return st.lists(st.sampled_from(choices), max_size=most, unique_by=repr)


# The end of a field's path -> what may stand there.
OVERRIDES: dict[str, Strategy] = {
    "resources": st.sampled_from(RESOURCES),
    "env": some(VARIABLES),
    "envFrom": some(SOURCES),
    "tolerations": some(TOLERATIONS),
    "nodeSelector": st.sampled_from([{}, {"kubernetes.io/arch": "amd64"}, {"disk": ""}]),
    "priorityClassName": st.sampled_from(["", "high-priority"]),
    "imagePullSecrets": st.sampled_from([[], [{"name": "registry.example.com"}]]),
    "image": st.sampled_from(["shop:1", "registry.example.com:5000/team/shop@sha256:" + "0" * 64]),
    "parameters": some(list(PARAMETERS.items())).map(dict),
    "schedule": st.sampled_from(SCHEDULES),
    "timeZone": st.sampled_from(["Etc/UTC", "Europe/Berlin", "Etc/GMT+5"]),
    "command": some(["sh", "-c", "run $(PORT)", "ü"]),
    "args": some(["--flag", "", "a b"]),
    "queues": some(["bulk", "notifications", "a:b.c_d"]),
    "livenessPath": st.sampled_from(["/", "/livez?full=1"]),
    "readinessPath": st.sampled_from(["/", "/readyz"]),
    "size": QUANTITIES,
    "storageClassName": st.sampled_from(["fast", "local-path.v2"]),
    "maxMemory": st.sampled_from(["64Mi", "100M", "256Mi"]),
    "name": LABELS,
    "redis.replicas": st.sampled_from([1, 3, 4, 5]),
    "redis.sentinels": st.sampled_from([1, 3, 5]),
    "rabbitmq.replicas": st.sampled_from([1, 3, 5]),
    "postgres.external.secretName": st.just("our-postgres"),
    "redis.external.secretName": st.just("our-redis"),
    "rabbitmq.external.secretName": st.just("our-rabbitmq"),
}


def values(schema: dict[str, Any], path: str = "") -> Strategy:
    """Anything that fits a part of the schema."""
    for end, strategy in OVERRIDES.items():
        if path == end or path.endswith(f".{end}"):
            return strategy
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            parts = {name: values(part, f"{path}.{name}".strip(".")) for name, part in schema["properties"].items()}
            required = {name: parts.pop(name) for name in schema.get("required", [])}
            return st.fixed_dictionaries(required, optional=parts)
        case "array":
            items = values(schema["items"], path)
            is_named = schema.get("x-kubernetes-list-type") == "map"
            return st.lists(items, max_size=3, unique_by=(lambda item: item["name"]) if is_named else repr)
        case "integer":
            return st.integers(schema["minimum"], min(schema["maximum"], schema["minimum"] + 30))
        case "boolean":
            return st.booleans()
    raise NotImplementedError(f"{path}: say in OVERRIDES what may stand there")


def mend(spec: Spec) -> Spec:
    """Make the rules hold that span several fields."""
    for name in ("postgres", "redis", "rabbitmq"):
        service = spec.get(name, {})
        if service.get("mode") == "External":
            service["external"] = {"secretName": f"our-{name}"}
    postgres, backend = spec.get("postgres", {}), spec.get("backend", {})
    if postgres.get("synchronousReplication") == "Required":
        postgres["instances"] = max(2, postgres.get("instances", 2))
    for worker in backend.get("workers", []):
        if "autoscaling" in worker or "image" not in backend:
            worker["queues"] = worker.get("queues") or ["bulk"]
    for scaled in (backend.get("api", {}), *backend.get("workers", [])):
        bounds = scaled.get("autoscaling", {})
        if bounds:
            least = bounds.get("minReplicas", 2)
            bounds["maxReplicas"] = max(least, bounds.get("maxReplicas", 2))
            bounds["minReplicas"] = least
    return spec


def specs() -> st.SearchStrategy[Spec]:
    """Any valid spec."""
    return values(build_schema()["properties"]["spec"]).map(copy.deepcopy).map(mend)


def pairs_of_specs() -> st.SearchStrategy[tuple[Spec, Spec]]:
    """Two valid specs of one stack, each of which may follow the other: what cannot change is the same in both."""
    return st.tuples(specs(), specs()).map(lambda pair: (pair[0], following(*pair)))


def following(first: Spec, second: Spec) -> Spec:
    """The second spec with what cannot change taken from the first."""
    spec = copy.deepcopy(second)
    fixed = {"postgres": ("mode", "external", "storage"), "redis": ("mode", "external", "storage")}
    for name, fields in {**fixed, "rabbitmq": ("mode", "external", "storage", "replicas")}.items():
        service = spec.setdefault(name, {})
        for field in fields:
            service.pop(field, None)
            if field in first.get(name, {}):
                service[field] = copy.deepcopy(first[name][field])
    return spec
