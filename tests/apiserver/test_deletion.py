"""The end of a stack that is half-built, whose operator was away, or whose namespace is going too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from appstack_operator.kinds import BY_NAME, STACK
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL
from appstack_operator.ownership import HASH, annotation
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.life import MANAGED_SPEC, NAME, SPEC, living
from tests.apiserver.kit.snapshot import passwords
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import Life, World


async def left_over(life: Life) -> list[str]:
    """What the stack made and what is still there."""
    kinds = ("Secret", "ConfigMap", "PersistentVolumeClaim", "StatefulSet", "Deployment", "Service", "NetworkPolicy")
    found = [obj for kind in kinds for obj in await life.cast.list(BY_NAME[kind])]
    made = [each for each in found if annotation(each, HASH) or each["kind"] == "PersistentVolumeClaim"]
    return [f"{each['kind']} {each['metadata']['name']}" for each in made]


async def make_claim(life: Life, name: str, **labels: str) -> str:
    """A claim of the user's; its uid."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    made = await life.ask("POST", BY_NAME["PersistentVolumeClaim"].path(life.cast.namespace), json=claim)
    return str(made["metadata"]["uid"])


async def is_over(life: Life) -> bool:
    return await life.is_gone() and not await left_over(life)


@pytest.mark.parametrize("writes", [3, 9, 17])
async def test_a_half_built_stack_goes_without_a_trace(life: Life, writes: int) -> None:
    await life.create()
    assert await life.killed_after(writes, life.is_ready)
    await life.delete()
    await life.undisturbed(lambda: is_over(life))


async def test_a_deletion_while_the_operator_is_away_waits_for_it(life: Life) -> None:
    await life.create()
    await life.undisturbed(life.is_ready)
    await life.delete()
    assert not await life.is_gone()
    stack = await life.ask("GET", STACK.path(life.cast.namespace, NAME))
    assert stack["metadata"]["finalizers"] == ["appstack.dev/finalizer"]
    await life.undisturbed(lambda: is_over(life))


async def test_a_stack_whose_namespace_is_going_goes_too(life: Life) -> None:
    await life.create()
    await life.undisturbed(life.is_ready)
    await life.ask("DELETE", f"/api/v1/namespaces/{life.cast.namespace}")
    await life.delete()  # as the namespace controller does
    await life.undisturbed(lambda: is_over(life))
    refused = await life.cast.client.post(
        BY_NAME["ConfigMap"].path(life.cast.namespace), json={"metadata": {"name": "probe"}}
    )
    assert refused.status_code == httpx.codes.FORBIDDEN, "nothing can be made there: the operator had to do without"


async def test_a_stack_that_is_created_again_recognises_what_it_left(world: World) -> None:
    """Retain: volumes and passwords outlive the stack, belong to nobody meanwhile, and open each other again."""
    async with living(world, "retained", {**SPEC, "deletionPolicy": "Retain"}) as life:
        await life.create()
        await life.undisturbed(life.is_ready)
        made, volumes = await passwords(life.cast), await claims(life)
        assert made
        assert volumes
        await life.delete()
        await life.undisturbed(life.has_ended)
        assert await passwords(life.cast) == made
        assert await claims(life) == volumes
        await life.create()
        await life.undisturbed(life.is_ready)
        assert await passwords(life.cast) == made
        assert await claims(life) == volumes


async def test_volumes_stay_when_retain_comes_as_the_last_word(world: World) -> None:
    """Under Delete each StatefulSet owns its claims; nobody had time to change that before the stack was deleted."""
    async with living(world, "last-word", SPEC) as life:
        await life.create()
        await life.undisturbed(life.is_ready)
        volumes = await claims(life)
        assert volumes
        path = STACK.path(life.cast.namespace, NAME)
        await life.ask("PATCH", path, json={"spec": {"deletionPolicy": "Retain"}}, headers=MERGE)
        await life.delete()
        await life.undisturbed(life.has_ended)
        assert await claims(life) == volumes


async def test_the_end_of_a_stack_leaves_what_only_bears_its_names(life: Life) -> None:
    """A database of the user's, called as ours would be, which the stack may even have been bound to."""
    labels = {"app": "ours"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "postgres", "image": "postgres"}]}}
    spec = {"replicas": 0, "serviceName": "ours", "selector": {"matchLabels": labels}, "template": pod}
    sets = BY_NAME["StatefulSet"]
    theirs = {"apiVersion": sets.api_version, "kind": sets.name, "metadata": {"name": f"{NAME}-postgres"}, "spec": spec}
    made = await life.ask("POST", sets.path(life.cast.namespace), json=theirs)
    await life.create()
    await life.killed_after(9, life.is_ready)
    await life.delete()
    await life.undisturbed(life.is_gone)
    left = await life.ask("GET", sets.path(life.cast.namespace, f"{NAME}-postgres"))
    assert left["metadata"]["uid"] == made["metadata"]["uid"]
    assert "deletionTimestamp" not in left["metadata"]


async def test_no_password_outlives_the_stack_because_its_label_was_taken_off(life: Life) -> None:
    await life.create()
    await life.undisturbed(life.is_ready)
    path = BY_NAME["Secret"].path(life.cast.namespace, f"{NAME}-redis-auth")
    await life.ask("PATCH", path, json={"metadata": {"labels": {STACK_LABEL: None}}}, headers=MERGE)
    await life.delete()
    await life.undisturbed(life.is_gone)
    assert [name for name in await left_over(life) if name.startswith("Secret ")] == []


async def test_a_claim_that_only_bears_the_stacks_label_outlives_it(world: World) -> None:
    """The label makes the operator look at once: users put it on what is theirs."""
    async with living(world, "labelled-claim", SPEC) as life:
        await life.create()
        await life.undisturbed(life.is_ready)
        theirs = await make_claim(life, "our-files", **{STACK_LABEL: NAME})
        assert len(await claims(life)) > 1
        await life.delete()
        await life.undisturbed(life.is_gone)
        assert await claims(life) == {"our-files": theirs}


async def test_what_a_former_stack_of_this_name_left_is_waited_for(world: World, api: Api) -> None:
    """Nobody collects it here but the test; one of them was never found by its label."""
    former = {"apiVersion": STACK.api_version, "kind": STACK.name, "name": NAME, "uid": "gone", "controller": True}
    labels = {STACK_LABEL: NAME, COMPONENT_LABEL: "redis"}
    async with staging(world, api, "former") as stage:
        ports = {"ports": [{"port": 80}]}
        await stage.make(
            "Service", f"{NAME}-redis-0", metadata={"ownerReferences": [former], "labels": labels}, spec=ports
        )
        await stage.make("Service", f"{NAME}-redis-1", metadata={"ownerReferences": [former]}, spec=ports)
        await stage.make_stack(MANAGED_SPEC)
        for left in (f"{NAME}-redis-0", f"{NAME}-redis-1"):
            before = await stage.get("Service", left)
            conditions = await stage.look()
            said = conditions["RedisReady"]
            assert (said["status"], said["reason"]) == ("False", "Creating")
            assert f"Service {left} of a former stack" in said["message"]
            assert "Stalled" not in conditions
            assert conditions["Reconciling"]["status"] == "True"
            assert await stage.get("Service", left) == before
            await stage.ask("DELETE", stage.path("Service", left))
        await stage.reach_health()
        assert (await stage.get("Service", f"{NAME}-redis-0"))["metadata"]["ownerReferences"][0]["uid"] != "gone"


async def claims(life: Life) -> dict[str, str]:
    """Claim -> its uid."""
    found = await life.cast.list(BY_NAME["PersistentVolumeClaim"])
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}
