"""Every field of the spec does something: each is changed on a live object, and what it changes is looked at.

The fields come from the CRD. One without a case here fails the test, and so does a case without a field.
"""

from __future__ import annotations

from dataclasses import replace
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
from tests.apiserver.kit.field_cases import (
    AUTOSCALED,
    BASE,
    CASES,
    EMPTY,
    EXTERNAL,
    FORMER,
    KEYS,
    MANAGED,
    OUTSIDE,
    Case,
    worker,
)
from tests.apiserver.kit.plugin import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from appstack_operator.objects import Object
    from tests.apiserver.kit.server import BareCluster

ROOT = Path(__file__).parents[2]
# Shown where it takes effect: field -> a test of this file or another one.
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
        need = Need((seen.now - timedelta(seconds=age_seconds)).timestamp(), before, is_busy=False)
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
