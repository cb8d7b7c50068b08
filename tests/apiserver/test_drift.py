"""Whatever somebody changes in what the operator made is put back, labels too; what others add is theirs and stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.kinds import BY_NAME, CHILDREN
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL, Object
from appstack_operator.ownership import HASH, annotation
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.field_cases import BASE
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

SPEC: dict[str, Any] = {
    **BASE,
    "deletionPolicy": "Delete",
    "backend": {**BASE["backend"], "api": {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}},
    "postgres": {"pooler": {"enabled": True}},
}
KINDS = [kind.name for kind in CHILDREN if kind.is_made and not kind.is_optional]
# Kind -> a change of what the operator wrote into it. Secrets hold passwords: see test_credentials.py.
CHANGES: dict[str, dict[str, Any]] = {
    "ServiceAccount": {"automountServiceAccountToken": True},
    "Role": {"rules": []},
    "RoleBinding": {"subjects": []},
    "ConfigMap": {"data": None},
    "Service": {"spec": {"selector": {"app": "stolen"}}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 7}},
    "NetworkPolicy": {"spec": {"ingress": []}},
    "StatefulSet": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
    "Deployment": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 600}}}},
    "HorizontalPodAutoscaler": {"spec": {"maxReplicas": 9}},
    "CronJob": {"spec": {"schedule": "@yearly"}},
}
LABELS: dict[str, dict[str, str | None]] = {
    "another value": {COMPONENT_LABEL: "stolen"},
    "taken off": {"app.kubernetes.io/instance": None},
    "no longer found by it": {STACK_LABEL: None},
    "all of them": {STACK_LABEL: None, COMPONENT_LABEL: None, "app.kubernetes.io/name": "other"},
}
THEIRS = {"labels": {"their": "label"}, "annotations": {"their": "annotation"}}


@pytest.fixture(scope="module")
async def shop(world: World, api: Api) -> AsyncIterator[Stage]:
    async with staging(world, api, "drift") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        yield stage


async def made(stage: Stage, kind: str) -> dict[str, Object]:
    """What the operator made of a kind, whatever its labels are now."""
    return {obj["metadata"]["name"]: obj for obj in await stage.cast.list(BY_NAME[kind]) if annotation(obj, HASH)}


async def spoil(stage: Stage, kind: str, change: dict[str, Any]) -> None:
    for name in await made(stage, kind):
        await stage.ask("PATCH", stage.path(kind, name), json=change, headers=MERGE)


def essence(obj: Object) -> Object:
    """All but the API server's own bookkeeping."""
    meta = {key: obj["metadata"].get(key) for key in ("name", "uid", "labels", "annotations", "ownerReferences")}
    return {**{key: value for key, value in obj.items() if key not in ("metadata", "status")}, "metadata": meta}


async def is_put_back(stage: Stage, kind: str, before: dict[str, Object]) -> None:
    """Two passes: what lost its label is only found while it is being made again."""
    for _ in range(2):
        await stage.look()
        await stage.cast.play()  # a repaired template is rolled out
    after = await made(stage, kind)
    assert {name: essence(obj) for name, obj in after.items()} == {name: essence(obj) for name, obj in before.items()}


def test_every_kind_is_changed() -> None:
    assert CHANGES.keys() | {"Secret", "Job"} == set(KINDS)


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_change_is_put_back(shop: Stage, kind: str) -> None:
    before = await made(shop, kind)
    assert before
    await spoil(shop, kind, CHANGES[kind])
    await is_put_back(shop, kind, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
async def test_labels_are_put_back(shop: Stage, kind: str, labels: dict[str, str | None]) -> None:
    before = await made(shop, kind)
    await spoil(shop, kind, {"metadata": {"labels": labels}})
    await is_put_back(shop, kind, before)


async def test_what_others_add_is_theirs(shop: Stage) -> None:
    for kind in KINDS:
        await spoil(shop, kind, {"metadata": THEIRS})
    versions = {
        (kind, name): obj["metadata"]["resourceVersion"] for kind, name, obj in [x async for x in everything(shop)]
    }
    for _ in range(2):
        await shop.look()
    for kind, name, obj in [x async for x in everything(shop)]:
        assert obj["metadata"]["labels"]["their"] == "label", (kind, name)
        assert obj["metadata"]["annotations"]["their"] == "annotation", (kind, name)
        assert obj["metadata"]["resourceVersion"] == versions[kind, name], "and nothing was written for it"


async def everything(stage: Stage) -> AsyncIterator[tuple[str, str, Object]]:
    for kind in KINDS:
        for name, obj in (await made(stage, kind)).items():
            yield kind, name, obj
