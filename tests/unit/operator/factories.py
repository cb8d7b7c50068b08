"""Makes stacks, contexts and observed objects with defaults, so that a test shows only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from appstack_operator.api import AppStack
from appstack_operator.desired.context import Context, Credentials, Images
from appstack_operator.objects import Object, owner_reference, selector
from appstack_operator.observed import (
    Observed,
    PostgresAnswers,
    PostgresMember,
    RabbitmqAnswers,
    RabbitmqNode,
    RedisAnswers,
    RedisInstance,
    SentinelAnswer,
)
from appstack_operator.ownership import stamped

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"


def a_stack(name: str = "shop", **spec: Any) -> AppStack:
    """A stack with the given parts of its spec, in the words of a manifest."""
    metadata = {"name": name, "namespace": "shop", "uid": UID, "generation": 1}
    return AppStack.model_validate({"metadata": metadata, "spec": spec})


def a_context(**changes: Any) -> Context:
    """A context with known images, passwords and an address for every Service."""
    images = Images("backend:1", "postgres:17", "redis:8", "rabbitmq:4")
    passwords = Credentials(**{name: f"{name}-password" for name in Credentials.__dataclass_fields__})
    per_pod = [f"{part}-{i}" for part in ("redis", "redis-sentinel", "rabbitmq") for i in range(5)]
    doors = ["postgres-rw", "postgres-ro", "postgres-pooler", "redis-rw", "rabbitmq"]
    addresses = {f"shop-{service}": f"10.0.0.{n}" for n, service in enumerate([*per_pod, *doors])}
    return replace(Context(images, passwords, addresses), **changes)


def a_pod(stack: AppStack, component: str, number: int = 0, *, ready: bool = True, **changes: Any) -> Object:
    """A pod of a component, on a node of its own."""
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{stack.name}-{component}-{number}",
            "namespace": stack.namespace,
            "uid": f"{component}-{number}",
            "labels": selector(stack, component) | changes.pop("labels", {}),
        },
        "spec": {"nodeName": changes.pop("node", f"node-{number}"), "volumes": changes.pop("volumes", [])},
        "status": {"phase": "Running", "conditions": [condition], **changes},
    }


def pods(stack: AppStack, component: str, count: int) -> list[Object]:
    """Ready pods of a component, each on its node."""
    return [a_pod(stack, component, number) for number in range(count)]


def made(stack: AppStack, manifest: Object, **status: Any) -> Object:
    """A manifest as the API server shows it after we created it and nobody touched it."""
    live = stamped(manifest)
    meta = {
        "uid": f"uid-of-{manifest['metadata']['name']}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **live["metadata"],
    }
    fields = {f"f:{key}": owned(value) for key, value in live.items() if key not in ("apiVersion", "kind", "metadata")}
    kept = {
        key: live["metadata"][key] for key in ("labels", "annotations", "ownerReferences") if key in live["metadata"]
    }
    fields["f:metadata"] = owned(kept)
    meta["managedFields"] = [{"manager": "appstack-operator", "operation": "Apply", "fieldsV1": fields}]
    return {**live, "metadata": meta, "status": status}


def owned(value: Any) -> Object:
    """managedFields of a value that is ours: maps in parts, lists as a whole."""
    return {f"f:{key}": owned(part) for key, part in value.items()} if isinstance(value, dict) else {}


def observed(*objects: Object, **answers: Any) -> Observed:
    """What a pass saw: these objects, and services that are well unless told otherwise."""
    by_kind: dict[str, dict[str, Object]] = {}
    for obj in objects:
        by_kind.setdefault(obj["kind"], {})[obj["metadata"]["name"]] = obj
    return Observed(objects=by_kind, now=NOW, **answers)


def healthy_answers(stack: AppStack) -> dict[str, Any]:
    """Services of which each says that all is well."""
    spec = stack.spec
    members = [PostgresMember(f"{stack.name}-postgres-0", role="primary", state="running", timeline=1)]
    members += [
        PostgresMember(f"{stack.name}-postgres-{i}", role="sync_standby", state="streaming", timeline=1, is_sync=True)
        for i in range(1, spec.postgres.instances)
    ]
    master = f"{stack.name}-redis-0"
    sentinels = [
        SentinelAnswer(f"{stack.name}-redis-sentinel-{i}", master=master, has_quorum=True, replicas=2)
        for i in range(spec.redis.sentinels)
    ]
    instances = [RedisInstance(master, role="master", good_replicas=spec.redis.replicas - 1)]
    instances += [
        RedisInstance(f"{stack.name}-redis-{i}", role="slave", link_up=True) for i in range(1, spec.redis.replicas)
    ]
    nodes = [
        RabbitmqNode(f"rabbit@{i}", f"{stack.name}-rabbitmq-{i}", is_running=True)
        for i in range(spec.rabbitmq.replicas)
    ]
    return {
        "postgres": PostgresAnswers(tuple(members)),
        "redis": RedisAnswers(tuple(sentinels), tuple(instances)),
        "rabbitmq": RabbitmqAnswers(nodes=tuple(nodes)),
    }


def owner(stack: AppStack) -> Object:
    """The owner reference of the stack's children."""
    return owner_reference(stack)
