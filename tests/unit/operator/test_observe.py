"""What of all that bears a stack's label counts as its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.kinds import BY_NAME, Kind, Ref
from appstack_operator.leaving import why_members_stay
from appstack_operator.observe import observe_kubernetes, observe_objects
from appstack_operator.observed import EVER, Observed
from appstack_operator.probe import versions_in
from tests.unit.operator.factories import a_pod, a_stack, healthy_answers
from tests.unit.operator.planning import everything

if TYPE_CHECKING:
    from appstack_operator.objects import Object


class Listed:
    """An API server that has these objects."""

    def __init__(self, *objects: Object) -> None:
        self.objects = objects

    async def list(self, kind: Kind, namespace: str, labels: str = "", fields: str = "") -> list[Object]:
        return [each for each in self.objects if BY_NAME[each["kind"]] == kind]


async def seen_in(*objects: Object, **answers: Any) -> Observed:
    found, unknown = await observe_objects(Listed(*objects), a_stack())  # type: ignore[arg-type]
    return Observed(found, unknown, **answers)


def named(pod: Object, name: str) -> Object:
    return {**pod, "metadata": {**pod["metadata"], "name": name, "uid": f"uid-of-{name}"}}


@pytest.mark.parametrize("component", ["postgres", "redis", "redis-sentinel", "rabbitmq"])
@pytest.mark.parametrize("name", ["{}-0-debug", "{}", "debug", "7", "other-7", "{}-mine-0"])
async def test_a_copy_of_a_member_is_no_member(component: str, name: str) -> None:
    """`kubectl debug --copy-to=… --keep-labels` makes one; who leads, and how many there are, is not its business."""
    member = a_pod(a_stack(), component, labels={"appstack.dev/role": "primary"})
    seen = await seen_in(member, named(member, name.format(f"shop-{component}")))
    assert [pod["metadata"]["name"] for pod in seen.pods(component)] == [f"shop-{component}-0"]


async def test_a_stateful_set_of_the_users_is_none_of_a_service() -> None:
    """What is wrong with it was told as the trouble of PostgreSQL."""
    found = {each["metadata"]["name"]: each for each in everything() if each["kind"] == "StatefulSet"}
    ours = found["shop-postgres"]
    seen = await seen_in(*found.values(), named(ours, "a-postgres"), named(ours, "shop-postgres-mine"))
    assert {each["metadata"]["name"] for each in seen.of_kind("StatefulSet")} == found.keys()
    relabelled = {**ours, "metadata": {**ours["metadata"], "labels": {"appstack.dev/component": "mine"}}}
    assert (await seen_in(relabelled)).get("StatefulSet", "shop-postgres"), "it is ours: its labels are put right"


async def test_pods_of_deployments_have_no_numbers() -> None:
    pods = [named(a_pod(a_stack(), component), f"shop-{component}-7d9f-x2b4z") for component in ("api", "worker-bulk")]
    assert len((await seen_in(*pods)).of_kind("Pod")) == 2


async def test_a_service_shrinks_beside_a_copy_of_its_member() -> None:
    """Each pass crashed: a name without a number at its end has no number."""
    before = a_stack(postgres={"instances": 3})
    objects = everything(postgres={"instances": 3})
    for each in objects:
        each["status"] = {"observedGeneration": 1}
        if each["metadata"]["name"] == "shop-postgres-config":
            each["metadata"]["annotations"]["initialize"] = "7"
    members = [a_pod(before, "postgres", number) for number in range(3)]
    seen = await seen_in(*objects, *members, named(members[0], "shop-postgres-0-debug"), **healthy_answers(before))
    assert why_members_stay("postgres", a_stack(postgres={"instances": 2}), seen) == "instances 3 -> 2: one by one"
    assert seen.pods("postgres") == members


class Changing(Listed):
    """An API server whose Secret of the user's changes while it is listed."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = asyncio.Semaphore(1)
        self.version = 1

    async def list(self, kind: Kind, namespace: str, labels: str = "", fields: str = "") -> list[Object]:
        if kind.name != "Secret":
            return []
        await asyncio.sleep(0.05)
        self.version = 2
        return [await self.get(Ref("Secret", namespace, "theirs"))]

    async def get(self, ref: Ref) -> Object:
        meta = {"name": "theirs", "uid": "uid-of-theirs", "resourceVersion": str(self.version), "labels": {}}
        return {"kind": "Secret", "metadata": meta, "data": {"COLOUR": f"of version {self.version}"}}


async def test_the_content_of_an_input_is_no_older_than_its_version() -> None:
    """An event that tells of that version wakes nobody: the change was noticed up to a minute later."""
    stack = a_stack(backend={"envFrom": [{"secretRef": {"name": "theirs"}}]})
    seen = await observe_kubernetes(Changing(), stack, EVER)  # type: ignore[arg-type]
    assert versions_in(seen)["uid-of-theirs"] == "2"
    assert seen.references["Secret", "theirs"] == {"COLOUR": "of version 2"}
