"""Whatever somebody changes in what the operator made is put back, labels too; what others add is theirs and stays."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.desired.stack import build_stack
from appstack_operator.kinds import BY_NAME, CHILDREN, ORDER, Ref
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL, Object
from appstack_operator.ownership import HASH, annotation
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.field_cases import BASE
from tests.apiserver.kit.life import SPEC as LIFE_SPEC
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import Life, World
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
    "StatefulSet": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 601}}}},
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
AIM_SECONDS = 5.0
NOTICE_HANG_SECONDS = 5 * AIM_SECONDS
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


async def everything(stage: Stage) -> dict[str, Object]:
    """`Kind name` -> all that the operator made."""
    found = [await made(stage, kind) for kind in KINDS]
    return {f"{obj['kind']} {name}": essence(obj) for objects in found for name, obj in objects.items()}


async def is_put_back(stage: Stage, before: dict[str, Object]) -> None:
    """A few passes: what lost its label is found while it is made again, and a repaired template is rolled out."""
    for _ in range(4):
        await stage.look()
        await stage.cast.play()
    after = await everything(stage)
    assert after.keys() == before.keys()
    assert [name for name, obj in after.items() if obj != before[name]] == []


def test_every_kind_is_changed() -> None:
    assert CHANGES.keys() | {"Secret", "Job"} == set(KINDS)


async def test_a_change_is_put_back(shop: Stage) -> None:
    before = await everything(shop)
    for kind, change in CHANGES.items():
        await spoil(shop, kind, change)
    spoilt = await everything(shop)
    assert {name.partition(" ")[0] for name, obj in spoilt.items() if obj != before[name]} == CHANGES.keys()
    await is_put_back(shop, before)


async def test_one_pass_repairs_everything_in_the_order_of_creation_and_writes_nothing_else(shop: Stage) -> None:
    before = await everything(shop)
    changes = CHANGES | {
        # Nothing that is rolled out: scheduled jobs would wait for the end of that.
        "Deployment": {"spec": {"progressDeadlineSeconds": 77}},
        "Secret": {"metadata": {"labels": {"app.kubernetes.io/instance": None}}},
        "Job": {"metadata": {"labels": {"app.kubernetes.io/instance": None}}},
    }
    for kind, change in changes.items():
        await spoil(shop, kind, change)
    await shop.ask("DELETE", shop.path("Service", "shop-api"))
    drifted = await everything(shop)
    wrong = {name for name, obj in before.items() if obj != drifted.get(name)}
    assert {name.partition(" ")[0] for name in wrong} == set(KINDS)
    spoilt = await shop.versions()
    await shop.look()
    after, repaired = await shop.versions(), await everything(shop)
    assert {name for name, obj in before.items() if obj != repaired.get(name)} == {"Service shop-api"}, "another uid"

    written = [each for each in sorted(after, key=after.__getitem__) if after[each] != spoilt.get(each)]
    look = shop.operator.looks[shop.namespace, shop.name]
    stages = {Ref.of(item.manifest): item.stage for item in build_stack(look.stack, look.context)}

    def turn(each: tuple[str, str]) -> tuple[int, int, str]:
        kind, name = each
        return stages[Ref(kind, shop.namespace, name)], ORDER[kind], name

    assert written == sorted(written, key=turn)
    assert {f"{kind} {name}" for kind, name in written} == wrong, "nothing else was written"
    assert after.keys() - spoilt.keys() == {("Service", "shop-api")}
    await is_put_back(shop, repaired)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
async def test_labels_are_put_back(shop: Stage, labels: dict[str, str | None]) -> None:
    before = await everything(shop)
    for kind in KINDS:
        await spoil(shop, kind, {"metadata": {"labels": labels}})
    assert [name for name, obj in (await everything(shop)).items() if obj == before[name]] == [], "all are spoilt"
    await is_put_back(shop, before)


async def test_what_others_add_is_theirs(shop: Stage) -> None:
    for kind in KINDS:
        await spoil(shop, kind, {"metadata": THEIRS})
    before = await everything(shop)
    assert all(obj["metadata"]["labels"]["their"] == "label" for obj in before.values())
    versions = {kind: await made(shop, kind) for kind in KINDS}
    for _ in range(2):
        await shop.look()
    assert await everything(shop) == before
    assert {kind: await made(shop, kind) for kind in KINDS} == versions, "nothing was written for it"


async def test_the_number_of_api_pods_is_the_autoscalers(shop: Stage) -> None:
    await shop.change("Deployment", "shop-api", {"spec": {"replicas": 4}}, "/scale")
    scaled = await shop.get("Deployment", "shop-api")
    for _ in range(2):
        await shop.look()
    after = await shop.get("Deployment", "shop-api")
    assert after["spec"]["replicas"] == 4
    assert after["metadata"]["resourceVersion"] == scaled["metadata"]["resourceVersion"], "nothing was written"
    # What it owns in the very same object is still repaired.
    await shop.change("Deployment", "shop-api", {"spec": {"progressDeadlineSeconds": 77}})
    await shop.look()
    repaired = (await shop.get("Deployment", "shop-api"))["spec"]
    assert (repaired["replicas"], repaired["progressDeadlineSeconds"]) == (4, 300)


async def test_an_autoscaler_is_never_left_with_no_pod(world: World, api: Api) -> None:
    """At zero it does nothing for ever, as Kubernetes has it: neither a spec of before nor a person leaves it there."""
    scaled = {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}
    async with staging(world, api, "zero") as stage:
        await stage.make_stack({**BASE, "backend": {**BASE["backend"], "api": {"replicas": 0}}})
        for _ in range(8):
            await stage.cast.play()
            conditions = await stage.look()
        assert (await stage.get("Deployment", "shop-api"))["spec"]["replicas"] == 0
        assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", "NotDeclared")
        assert conditions["CronJobsReady"]["status"] == "True", "they wait for no API that nobody wants"
        assert "Reconciling" not in conditions
        await stage.change_spec(backend={"api": scaled})
        await stage.reach_health()
        assert (await stage.get("Deployment", "shop-api"))["spec"]["replicas"] == 2
        await stage.change("Deployment", "shop-api", {"spec": {"replicas": 0}}, "/scale")
        await stage.reach_health()
        assert (await stage.get("Deployment", "shop-api"))["spec"]["replicas"] == 2
        await stage.change("Deployment", "shop-api", {"spec": {"replicas": 4}}, "/scale")
        for _ in range(3):
            await stage.look()
            await stage.cast.play()
            assert (await stage.get("Deployment", "shop-api"))["spec"]["replicas"] == 4, "the autoscaler's again"


async def test_the_operator_notices_at_once(life: Life, record_property: Callable[[str, object], None]) -> None:
    """Also what is no longer found by its label: for a watch by label, that is an end."""
    life.spec = LIFE_SPEC
    await life.create()
    life.operator.start()
    await life.settle(life.is_ready)
    took_seconds = {}
    for kind, name in (("Deployment", "shop-api"), ("Secret", "shop-postgres-app"), ("Role", "shop-postgres")):
        for labels in ({COMPONENT_LABEL: "stolen"}, {STACK_LABEL: None}):
            path = BY_NAME[kind].path(life.cast.namespace, name)
            before = (await life.ask("GET", path))["metadata"]["labels"]
            await life.ask("PATCH", path, json={"metadata": {"labels": labels}}, headers=MERGE)
            began = time.monotonic()
            while (await life.ask("GET", path))["metadata"]["labels"] != before:
                assert time.monotonic() - began < NOTICE_HANG_SECONDS, f"{kind} {name} {labels}: {life.operator.tail()}"
                await asyncio.sleep(0.05)
            took_seconds[f"{kind} {labels}"] = round(time.monotonic() - began, 2)
    record_property("measured", f"put back after {took_seconds} s, aim {AIM_SECONDS}")


async def test_a_paused_stack_is_looked_at_and_not_touched(shop: Stage) -> None:
    before = await everything(shop)
    await shop.change_spec(paused=True)
    await spoil(shop, "Deployment", CHANGES["Deployment"])
    await shop.ask("DELETE", shop.path("PodDisruptionBudget", "shop-api"))
    spoilt = await everything(shop)
    for _ in range(2):
        assert (await shop.look())["Ready"]["reason"] == "Paused"
    assert await everything(shop) == spoilt
    assert "PodDisruptionBudget shop-api" not in spoilt
    await shop.change_spec(paused=False)
    for _ in range(4):
        await shop.look()
        await shop.cast.play()
    after = await everything(shop)
    assert after.keys() == before.keys()
    assert after["Deployment shop-api"] == before["Deployment shop-api"]
