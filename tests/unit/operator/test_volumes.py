"""Volumes grow: claims first, then the StatefulSet is made again around its pods; nothing ever shrinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.apply import apply
from appstack_operator.client import ApiError
from appstack_operator.converge import build_context
from appstack_operator.desired.stack import build_stack
from appstack_operator.gates import Gates
from appstack_operator.kinds import Ref
from appstack_operator.objects import FIELD_MANAGER, MANAGER_LABEL, STACK_LABEL, selector
from appstack_operator.placeholders import placeholder_credentials
from appstack_operator.plan import Action, Verb, plan
from appstack_operator.settings import Settings
from appstack_operator.volumes import growing
from tests.unit.operator.factories import a_context, a_stack, made, observed

if TYPE_CHECKING:
    from appstack_operator.objects import Object
    from appstack_operator.observed import Observed


SETTINGS = Settings(image_backend="b:1", image_postgres="p:17", image_redis="r:8", image_rabbitmq="m:4")


LABELS = {MANAGER_LABEL: FIELD_MANAGER, **selector(a_stack(), "postgres")}


def a_claim(number: int, size: str, capacity: str = "") -> Object:
    name = f"data-shop-postgres-{number}"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": LABELS},
        "spec": {"resources": {"requests": {"storage": size}}},
        "status": {"capacity": {"storage": capacity or size}},
    }


def look(size: str, *claims: Object, **spec: Any) -> Observed:
    """A stack that runs with volumes of that size."""
    stack = a_stack(postgres={"storage": {"size": size}}, **spec)
    objects = [made(stack, item.manifest) for item in build_stack(stack, a_context())]
    return observed(*objects, *claims)


def actions(wanted: str, seen: Observed, **spec: Any) -> list[Action]:
    stack = a_stack(postgres={"storage": {"size": wanted}}, **spec)
    return [
        each
        for each in plan(stack, build_stack(stack, a_context()), seen, Gates())
        if each.target.kind in ("StatefulSet", "PersistentVolumeClaim")
    ]


def test_the_claims_grow_first() -> None:
    found = actions("20Gi", look("10Gi", a_claim(0, "10Gi"), a_claim(1, "20Gi")))
    assert [(each.verb, each.target.name) for each in found] == [(Verb.GROW, "data-shop-postgres-0")]
    assert found[0].manifest is not None
    assert found[0].manifest["spec"] == {"resources": {"requests": {"storage": "20Gi"}}}


def test_then_the_stateful_set_is_made_again_without_its_pods() -> None:
    (action,) = actions("20Gi", look("10Gi", a_claim(0, "20Gi", "10Gi"), a_claim(1, "20Gi")))
    assert (action.verb, action.target) == (Verb.REPLACE, Ref("StatefulSet", "shop", "shop-postgres"))
    assert action.uid


def test_in_the_end_nothing_is_left_to_do() -> None:
    assert actions("20Gi", look("20Gi", a_claim(0, "20Gi"), a_claim(1, "20Gi"))) == []


def test_sizes_are_compared_and_not_their_words() -> None:
    assert actions("10Gi", look("10240Mi", a_claim(0, "10240Mi"), a_claim(1, "10240Mi"))) == []


def test_nothing_shrinks() -> None:
    assert actions("5Gi", look("10Gi", a_claim(0, "10Gi"), a_claim(1, "10Gi"))) == []


def test_another_change_goes_on_while_the_claims_grow() -> None:
    resources = {"limits": {"memory": "2Gi"}}
    stack = a_stack(postgres={"storage": {"size": "20Gi"}, "resources": resources})
    seen = look("10Gi", a_claim(0, "10Gi"))
    found = {each.verb: each for each in plan(stack, build_stack(stack, a_context()), seen, Gates())}
    manifest = found[Verb.APPLY].manifest
    assert manifest is not None
    sets = [
        each.manifest
        for each in plan(stack, build_stack(stack, a_context()), seen, Gates())
        if each.target.kind == "StatefulSet" and each.manifest
    ]
    (template,) = sets[0]["spec"]["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert sets[0]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "2Gi"


def test_a_volume_that_has_not_its_size_yet_is_told() -> None:
    assert list(growing(a_stack(), observed(a_claim(0, "20Gi", "10Gi")))) == [
        "PersistentVolumeClaim data-shop-postgres-0 grows from 10Gi to 20Gi"
    ]


def test_a_users_claim_with_the_label_of_the_stack_may_grow_as_it_likes() -> None:
    claim = a_claim(0, "20Gi", "10Gi")
    theirs = {"name": "uploads", "namespace": "shop", "labels": {STACK_LABEL: "shop"}}
    assert list(growing(a_stack(), observed(claim | {"metadata": theirs}))) == []


@pytest.mark.parametrize(
    ("capacities", "gibibytes"),
    [
        pytest.param([], 20, id="there is no volume yet"),
        pytest.param(["20Gi", "20Gi"], 20, id="all have grown"),
        pytest.param(["20Gi", "10Gi"], 10, id="one has not"),
        pytest.param(["30Gi", "30Gi"], 20, id="no more than is asked for"),
        pytest.param(["20Gi", "20Gi", "10Gi"], 20, id="that of a pod which was scaled away is nobody's"),
    ],
)
def test_a_service_goes_by_its_smallest_volume_as_it_is(capacities: list[str], gibibytes: int) -> None:
    claims = [a_claim(number, "20Gi", each) for number, each in enumerate(capacities)]
    stack = a_stack(postgres={"storage": {"size": "20Gi"}})
    assert build_context(stack, observed(*claims), placeholder_credentials(), SETTINGS).volume_bytes["postgres"] == (
        gibibytes * 2**30
    )


def grown(kind: str, name: str, size: str, volume_bytes: dict[str, int]) -> Object:
    stack = a_stack(postgres={"storage": {"size": size}}, rabbitmq={"storage": {"size": size}})
    items = build_stack(stack, a_context(volume_bytes=volume_bytes))
    return next(each.manifest for each in items if Ref.of(each.manifest) == Ref(kind, "shop", name))


def test_a_larger_size_changes_no_limit_before_the_volumes_have_it() -> None:
    as_it_is = {"postgres": 5 * 2**30, "rabbitmq": 5 * 2**30}
    for name in ("shop-postgres-config", "shop-rabbitmq"):
        assert grown("ConfigMap", name, "50Gi", as_it_is) == grown("ConfigMap", name, "5Gi", as_it_is)
        assert grown("ConfigMap", name, "50Gi", {}) != grown("ConfigMap", name, "50Gi", as_it_is)


@pytest.mark.parametrize("name", ["shop-postgres", "shop-rabbitmq"])
def test_no_pod_restarts_for_growth(name: str) -> None:
    before, after = (grown("StatefulSet", name, size, {}) for size in ("5Gi", "50Gi"))
    assert before["spec"]["template"] == after["spec"]["template"]


class RefusingApi:
    """An API server whose storage class lets nothing grow."""

    async def patch(self, ref: Ref, patch: Any) -> Object:
        raise ApiError(403, "Forbidden", "only dynamically provisioned pvc can be resized")


async def test_a_storage_class_that_lets_nothing_grow_is_said_and_nothing_else_waits() -> None:
    found = actions("20Gi", look("10Gi", a_claim(0, "10Gi"), a_claim(1, "10Gi")))
    failures = await apply(a_stack(), found, RefusingApi())  # type: ignore[arg-type]
    assert len(failures) == 2
    assert failures[0].component == "postgres"
    assert "PersistentVolumeClaim data-shop-postgres-0 cannot grow (size 10Gi -> 20Gi)" in failures[0].message
    assert "only dynamically provisioned" in failures[0].message
    assert not failures[0].is_passing


@pytest.mark.parametrize("name", ["data-shop-postgres-pooler-0", "data-shop-rabbitmq-0", "data-shop-postgres-x", "7"])
def test_only_the_claims_of_the_very_stateful_set_grow(name: str) -> None:
    stranger = a_claim(0, "1Gi")
    stranger["metadata"]["name"] = name
    found = actions("20Gi", look("10Gi", stranger, a_claim(0, "20Gi"), a_claim(1, "20Gi")))
    assert name not in {each.target.name for each in found}
