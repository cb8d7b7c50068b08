"""The end of a stack: what it takes away is its own, and volumes that are to stay lose the owner that goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from appstack_operator.api import AppStack
from appstack_operator.desired.postgres import build_members
from appstack_operator.desired.stack import build_stack
from appstack_operator.kinds import Ref
from appstack_operator.lifecycle import clean_up, members_have_ended, volumes_are_kept
from appstack_operator.objects import labels
from tests.unit.operator.factories import NOW, UID, a_context, a_pod, a_stack, made

if TYPE_CHECKING:
    from appstack_operator.kinds import Kind
    from appstack_operator.objects import Object

CLAIM = "data-shop-postgres-0"
OWNER = {"kind": "AppStack", "name": "shop", "uid": UID, "controller": True}


@dataclass
class Cluster:
    """An API server that holds these objects, and what was done to them."""

    objects: list[Object]
    done: list[tuple[str, str, Object]] = field(default_factory=list)

    async def list(self, kind: Kind, *_: Any) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind.name]

    async def get(self, ref: Ref) -> Object | None:
        return next((each for each in self.objects if Ref.of(each) == ref), None)

    async def patch(self, ref: Ref, patch: Object) -> None:
        self.done.append(("patch", str(ref), patch))

    async def delete(self, ref: Ref, uid: str = "") -> None:
        self.done.append(("delete", str(ref), {"uid": uid}))


def members(policy: str, owner: Object = OWNER, *, observed_generation: int = 1) -> Object:
    """PostgreSQL's StatefulSet as the API server holds it."""
    stack = a_stack(deletionPolicy=policy)
    live = made(stack, build_members(stack, a_context()), observedGeneration=observed_generation)
    return {**live, "metadata": {**live["metadata"], "ownerReferences": [owner]}}


def a_claim(*owners: Object) -> Object:
    """A claim of PostgreSQL's first pod, as its StatefulSet made it."""
    meta = {"namespace": "shop", "uid": "c", "resourceVersion": "7", "ownerReferences": list(owners)}
    made_of = labels(a_stack(), "postgres")
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM, "labels": made_of, **meta}}


ITS_SET = {"kind": "StatefulSet", "name": "shop-postgres", "uid": "s"}


async def kept(*objects: Object) -> tuple[bool, list[tuple[str, str, Object]]]:
    cluster = Cluster(list(objects))
    return await volumes_are_kept(cast("Any", cluster), a_stack()), cluster.done


async def test_a_statefulset_that_would_take_its_claims_along_is_told_first() -> None:
    is_done, ((verb, target, patch),) = await kept(members("Delete"), a_claim(ITS_SET))
    assert not is_done
    assert (verb, target) == ("patch", "StatefulSet shop-postgres")
    assert patch["spec"] == {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}


async def test_the_claims_wait_until_its_controller_knows() -> None:
    assert await kept(members("Retain", observed_generation=0), a_claim(ITS_SET)) == (False, [])


async def test_then_the_claims_lose_that_owner_and_no_other() -> None:
    theirs = {"kind": "Backup", "name": "ours", "uid": "b"}
    is_done, ((verb, target, patch),) = await kept(members("Retain"), a_claim(ITS_SET, theirs))
    assert is_done
    assert (verb, target) == ("patch", f"PersistentVolumeClaim {CLAIM}")
    assert patch == {"metadata": {"resourceVersion": "7", "ownerReferences": [theirs]}}


async def test_claims_without_an_owner_are_left_alone() -> None:
    assert await kept(members("Retain"), a_claim()) == (True, [])


@pytest.mark.parametrize(
    ("name", "lost_label"),
    [
        pytest.param("our-files", "", id="another name"),
        pytest.param("data-shop-postgres-x", "", id="no pod has this number"),
        pytest.param(CLAIM, "app.kubernetes.io/managed-by", id="made by somebody else"),
        pytest.param(CLAIM, "appstack.dev/component", id="of no component"),
    ],
)
async def test_claims_that_only_bear_the_stacks_label_are_left_alone(name: str, lost_label: str) -> None:
    theirs = a_claim({"kind": "StatefulSet", "name": "theirs", "uid": "t"})
    theirs["metadata"]["name"] = name
    theirs["metadata"]["labels"].pop(lost_label, None)
    assert await kept(members("Retain"), theirs) == (True, [])


async def test_a_claim_that_our_own_statefulset_would_take_along_is_kept_whatever_its_labels() -> None:
    live = members("Retain")
    claim = a_claim({"kind": "StatefulSet", "name": "shop-postgres", "uid": live["metadata"]["uid"]})
    claim["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "another-tool"
    is_done, ((verb, target, patch),) = await kept(live, claim)
    assert is_done
    assert (verb, target) == ("patch", f"PersistentVolumeClaim {CLAIM}")
    assert patch["metadata"]["ownerReferences"] == []


async def test_only_a_statefulset_of_the_stack_itself_is_stopped() -> None:
    metadata = {"name": "shop", "namespace": "shop", "uid": UID, "deletionTimestamp": NOW.isoformat()}
    stack = AppStack.model_validate({"metadata": metadata})
    theirs, ours = members("Delete", {**OWNER, "uid": "another"}), members("Delete")
    for live, done in (
        (theirs, []),
        (ours, [("delete", "StatefulSet shop-postgres", {"uid": ours["metadata"]["uid"]})]),
    ):
        cluster = Cluster([live])
        assert await members_have_ended(cast("Any", cluster), stack, NOW)
        assert cluster.done == done


async def test_a_copy_of_a_secret_is_kept_and_a_copy_of_a_pod_is_not_waited_for() -> None:
    """Copies bear our labels and notes, too: backups went with the stack, and a pod to debug with held it up."""
    stack = a_stack(deletionPolicy="Delete")
    secrets = [
        made(stack, each.manifest) for each in build_stack(stack, a_context()) if each.manifest["kind"] == "Secret"
    ]
    ours = next(each for each in secrets if each["metadata"]["name"] == "shop-postgres-app")
    backup = {**ours, "metadata": {**ours["metadata"], "name": "shop-postgres-app-backup"}}
    pod = a_pod(stack, "postgres")
    pod["metadata"]["name"] = "shop-postgres-0-debug"
    cluster = Cluster([ours, backup, pod])
    meta = {"name": "shop", "namespace": "shop", "uid": UID, "deletionTimestamp": NOW.isoformat()}
    live = {"metadata": meta, "spec": {"deletionPolicy": "Delete"}}
    assert await clean_up(cast("Any", cluster), live, NOW)
    assert [target for _, target, _ in cluster.done] == ["Secret shop-postgres-app"]
