"""kubectl appstack plan, against a real API server with a converged stack."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from appstack_operator.kinds import BY_NAME, CHILDREN, STACK
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.life import NAME, SPEC, Life
from tests.apiserver.kit.plugin import Plugin, kept, steady
from tests.apiserver.kit.plugin_stack import HOME, NAMESPACE, a_manifest, kubectl, plan


async def versions(life: Life) -> dict[str, str]:
    """Every object of the namespace with its version: any write would change one."""
    found = [obj for kind in (*CHILDREN, STACK) for obj in await life.cast.list(kind)]
    return {f"{obj['kind']} {obj['metadata']['name']}": obj["metadata"]["resourceVersion"] for obj in found}


async def test_an_unchanged_manifest_leaves_nothing_to_do(shop: Life, plugin: Plugin) -> None:
    outcome = await plan(plugin, a_manifest())
    assert (outcome.code, outcome.out, outcome.err) == (0, "AppStack plugin/shop: nothing to do\n", "")


CHANGES: dict[str, tuple[int, dict[str, Any]]] = {
    "new-image": (2, {"backend": {**SPEC["backend"], "image": "shop:2"}}),
    "parameter": (2, {"postgres": {"instances": 1, "parameters": {"work_mem": "8MB"}}}),
    "memory-of-postgres": (3, {"postgres": {"instances": 1, "resources": {"limits": {"memory": "2Gi"}}}}),
    "no-cron-jobs": (3, {"cronJobs": []}),
    "autoscaling": (
        2,
        {
            "backend": {
                **SPEC["backend"],
                "api": {"autoscaling": {"maxReplicas": 4}},
                "workers": [{"name": "bulk", "queues": ["bulk"], "replicas": 3, "env": [{"name": "A", "value": "1"}]}],
            }
        },
    ),
    "paused": (0, {"paused": True, "backend": {**SPEC["backend"], "image": "shop:2"}}),
    "missing-secret": (3, {"redis": {"mode": "External", "external": {"secretName": "not-there"}}}),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_plan_reads_well(shop: Life, plugin: Plugin, name: str) -> None:
    code, change = CHANGES[name]
    before = await versions(shop)
    outcome = await plan(plugin, a_manifest(**change))
    assert steady(outcome.out) == kept(f"plan-{name}", steady(outcome.out))
    assert (outcome.code, outcome.err) == (code, "")
    assert await versions(shop) == before, "a plan must write nothing"


async def test_a_new_stack_is_planned_as_a_whole(shop: Life, plugin: Plugin) -> None:
    before = await versions(shop)
    outcome = await plan(plugin, a_manifest("other", backend={}, cronJobs=None, redis={}, rabbitmq={}))
    assert outcome.out.startswith("AppStack plugin/other is new: ")
    assert outcome.code == 2
    for name in ("StatefulSet other-redis ", "Deployment other-worker-bulk ", "CronJob other-purge-expired "):
        assert f"+ {name}" in outcome.out
    assert await versions(shop) == before


async def test_what_is_planned_is_what_the_operator_does(shop: Life, plugin: Plugin) -> None:
    """The forecast of a change, and the writes of the operator once it was made, name the same objects."""
    backend = {**SPEC["backend"], "image": "shop:3"}
    manifest = a_manifest(backend=backend, cronJobs=[{"name": "weekly", "schedule": "@weekly"}])
    actions = json.loads((await plan(plugin, manifest, "-o", "json")).out)["stacks"][0]["actions"]
    patch = {"spec": {**manifest["spec"]}}
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json=patch, headers=MERGE)
    writes = await shop.undisturbed(shop.is_ready)
    done = {path_of(write) for write in writes if not is_report(write)}
    assert done == {written_by(each) for each in actions}
    assert (await plan(plugin, manifest)).code == 0
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json={"spec": SPEC}, headers=MERGE)
    await shop.undisturbed(shop.is_ready)


def is_report(write: str) -> bool:
    return write.endswith(("/events", "/status", f"/appstacks/{NAME}"))


def path_of(write: str) -> str:
    """METHOD /apis/…/namespaces/NS/PLURAL[/NAME] -> PLURAL[/NAME]."""
    return write.partition(f"/namespaces/{NAMESPACE}/")[2]


def written_by(action: dict[str, Any]) -> str:
    """The path that an action writes to; a POST names no object."""
    plural = BY_NAME[action["kind"]].plural
    return plural if action["verb"] == "create" else f"{plural}/{action['name']}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a rule": ({"redis": {**SPEC["redis"], "replicas": 2}}, "  spec.redis.replicas: replicas must be 1 or 3 to 5"),
    "a change that no volume can take": ({"postgres": {"instances": 1, "storage": {"size": "1Gi"}}}, "cannot shrink"),
    "an immutable mode": ({"redis": {"mode": "Managed"}}, "mode cannot change"),
    "an owned parameter": ({"postgres": {"parameters": {"fsync": "off"}}}, "parameters.fsync is the operator's"),
    "a misspelt field": ({"postgers": {}}, 'unknown field "spec.postgers"'),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_manifest_is_told_field_by_field(shop: Life, plugin: Plugin, name: str) -> None:
    change, sentence = REFUSED[name]
    outcome = await plan(plugin, a_manifest(**change))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: AppStack shop")
    assert sentence in outcome.err


async def test_several_documents_are_planned_one_by_one(shop: Life, plugin: Plugin) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "our-redis"}}
    two = [a_manifest(), secret, a_manifest("two", cronJobs=[])]
    outcome = await plugin.run("plan", "-f", "-", "--operator-namespace", HOME, stdin=yaml.safe_dump_all(two))
    assert outcome.code == 2
    assert outcome.err == "not looked at: Secret our-redis\n"
    headlines = [line for line in outcome.out.splitlines() if line.startswith("AppStack")]
    assert [line.partition(":")[0] for line in headlines] == ["AppStack plugin/shop", "AppStack plugin/two is new"]


async def test_drift_is_part_of_a_plan(shop: Life, plugin: Plugin) -> None:
    path = BY_NAME["Deployment"].path(NAMESPACE, "shop-api")
    await shop.ask("PATCH", path, json={"spec": {"replicas": 4}}, headers=MERGE)
    outcome = await plan(plugin, a_manifest())
    assert outcome.code == 2
    assert "somebody else changed spec.replicas" in outcome.out
    assert "spec.replicas: 4 -> 1" in outcome.out
    await shop.undisturbed(shop.is_ready)


async def test_what_kubectl_applied_before_and_the_new_file_lacks_is_taken_away(shop: Life, plugin: Plugin) -> None:
    """As kubectl apply does: a field that only the last applied file had goes back to its default."""
    more = a_manifest("applied", postgres={"instances": 3}, redis={}, rabbitmq={}, backend={}, cronJobs=[])
    await kubectl(plugin, "apply", "-f", "-", stdin=yaml.safe_dump(more))
    less = copy.deepcopy(more)
    del less["spec"]["postgres"]
    outcome = await plan(plugin, less)
    assert "spec.postgres.instances: 3 -> 2" in outcome.out
    await kubectl(plugin, "delete", "appstack", "applied", "--wait=false")
