"""A larger storage.size on a real API server: the claims grow and the StatefulSet is made again with its pods left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from appstack_operator.kinds import BY_NAME, STACK
from appstack_operator.volumes import size_of, size_of_template
from tests.apiserver.kit.life import NAME, SPEC

if TYPE_CHECKING:
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import Life

MERGE = {"Content-Type": "application/merge-patch+json"}
SET = f"{NAME}-postgres"
CLAIM = f"data-{SET}-0"
STORAGE_CLASS = "/apis/storage.k8s.io/v1/storageclasses"


async def the(life: Life, kind: str, name: str) -> Object:
    return await life.ask("GET", BY_NAME[kind].path(life.cast.namespace, name))


async def kept_wal(life: Life) -> str:
    """How much WAL PostgreSQL is told to keep for a replica that is away."""
    config = await the(life, "ConfigMap", f"{SET}-config")
    settings: dict[str, str] = json.loads(config["metadata"]["annotations"]["config"])["postgresql"]["parameters"]
    return settings["max_slot_wal_keep_size"]


async def bind(life: Life, claim: str, size: str = "10Gi") -> None:
    """What a provisioner does: only a bound claim may grow."""
    path = BY_NAME["PersistentVolumeClaim"].path(life.cast.namespace, claim)
    bound: dict[str, Any] = {"status": {"phase": "Bound", "capacity": {"storage": size}}}
    await life.ask("PATCH", f"{path}/status", json=bound, headers=MERGE)


async def ask_for_more(life: Life, *, expandable: bool) -> tuple[Object, Object]:
    """A stack whose volumes are to grow from 10 to 20 GiB; its pod and its StatefulSet before."""
    name = f"{'growing' if expandable else 'fixed'}-{life.cast.namespace[-20:]}".strip("-")
    made = {"metadata": {"name": name}, "provisioner": "example.com/none", "allowVolumeExpansion": expandable}
    await life.ask("POST", STORAGE_CLASS, json=made)
    spec = {**SPEC, "postgres": {"instances": 1, "storage": {"size": "10Gi", "storageClassName": name}}}
    stack = {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": NAME}, "spec": spec}
    await life.ask("POST", STACK.path(life.cast.namespace), json=stack)
    await life.undisturbed(life.is_ready)
    await bind(life, CLAIM)
    pod, before = await the(life, "Pod", f"{SET}-0"), await the(life, "StatefulSet", SET)
    larger = {"spec": {"postgres": {"storage": {"size": "20Gi"}}}}
    await life.ask("PATCH", STACK.path(life.cast.namespace, NAME), json=larger, headers=MERGE)
    return pod, before


async def test_claims_grow_and_the_stateful_set_is_made_again_around_its_pods(life: Life) -> None:
    pod, before = await ask_for_more(life, expandable=True)

    async def has_grown() -> bool:
        answer = await life.cast.client.get(BY_NAME["StatefulSet"].path(life.cast.namespace, SET))
        return answer.is_success and size_of_template(answer.json()) == "20Gi"

    writes = await life.undisturbed(has_grown)
    assert size_of(await the(life, "PersistentVolumeClaim", CLAIM)) == "20Gi"
    after = await the(life, "StatefulSet", SET)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert (await the(life, "Pod", f"{SET}-0"))["metadata"]["uid"] == pod["metadata"]["uid"], "no pod restarted"
    grown = next(each for each in writes if each.startswith("PATCH") and "persistentvolumeclaims" in each)
    replaced = next(each for each in writes if each.startswith("DELETE") and "statefulsets" in each)
    assert writes.index(grown) < writes.index(replaced)
    assert await kept_wal(life) == "2560MB", "a quarter of the volume as it still is"
    await bind(life, CLAIM, "20Gi")

    async def wal_has_grown() -> bool:
        return await kept_wal(life) == "5120MB"

    await life.undisturbed(wal_has_grown)


async def test_a_storage_class_that_lets_nothing_grow_is_told(life: Life) -> None:
    _, before = await ask_for_more(life, expandable=False)

    async def is_told() -> bool:
        stack = await life.ask("GET", STACK.path(life.cast.namespace, NAME))
        found = {each["type"]: each for each in stack["status"]["conditions"]}
        said = found["PostgresReady"]
        return said["reason"] == "ApplyRefused" and CLAIM in said["message"] and "10Gi -> 20Gi" in said["message"]

    await life.undisturbed(is_told)
    assert await kept_wal(life) == "2560MB"
    assert size_of(await the(life, "PersistentVolumeClaim", CLAIM)) == "10Gi"
    assert (await the(life, "StatefulSet", SET))["metadata"]["uid"] == before["metadata"]["uid"]
