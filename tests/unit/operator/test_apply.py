"""What is still done of a plan when the API server refuses a part of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.apply import apply
from appstack_operator.client import MAY_NOT_WRITE, ApiError
from appstack_operator.desired.stack import Stage
from appstack_operator.kinds import Ref
from appstack_operator.plan import Action, Impact, Verb
from tests.unit.operator.factories import a_stack

if TYPE_CHECKING:
    from appstack_operator.objects import Object

STACK = a_stack()


class Refusing:
    """An API server that refuses every object of a kind, and notes what it carried out."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.done: list[str] = []

    async def create(self, manifest: Object) -> None:
        self._take(Ref.of(manifest))

    async def delete(self, ref: Ref, uid: str, **_: Any) -> None:
        self._take(ref)

    def _take(self, ref: Ref) -> None:
        if ref.kind == self.kind:
            raise ApiError(422, "Invalid", "refused")
        self.done.append(str(ref))


def an_action(verb: Verb, kind: str, name: str, stage: Stage) -> Action:
    ref = Ref(kind, "shop", name)
    manifest: Object = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}}
    return Action(verb, ref, Impact.ROLLING, "a test", stage, manifest if verb is Verb.CREATE else None)


# In the order of a plan: writes stage by stage, what is superfluous, restarts.
PLAN = [
    an_action(Verb.CREATE, "Service", "shop-redis", Stage.DATA_SERVICES),
    an_action(Verb.CREATE, "Deployment", "shop-api", Stage.BACKEND),
    an_action(Verb.CREATE, "HorizontalPodAutoscaler", "shop-api", Stage.BACKEND),
    an_action(Verb.CREATE, "CronJob", "shop-nightly", Stage.CRON_JOBS),
    an_action(Verb.DELETE, "CronJob", "shop-hourly", Stage.CRON_JOBS),
    an_action(Verb.RESTART, "Pod", "shop-redis-2", Stage.DATA_SERVICES),
]


async def test_behind_a_refused_write_the_later_stages_wait_and_data_services_do_not() -> None:
    api = Refusing("Deployment")
    failures = await apply(STACK, PLAN, api)  # type: ignore[arg-type]
    assert [str(failure.target) for failure in failures] == ["Deployment shop-api"]
    assert api.done == ["Service shop-redis", "HorizontalPodAutoscaler shop-api", "Pod shop-redis-2"]


class Ended(Refusing):
    """A process that may write no more, from such an object on."""

    def _take(self, ref: Ref) -> None:
        if ref.kind == self.kind:
            raise ApiError(0, MAY_NOT_WRITE, "told to stop")
        self.done.append(str(ref))


async def test_a_process_that_may_write_no_more_tries_nothing_else_and_tells_of_no_refusal() -> None:
    api = Ended("Deployment")
    with pytest.raises(ApiError, match="told to stop"):
        await apply(STACK, PLAN, api)  # type: ignore[arg-type]
    assert api.done == ["Service shop-redis"]


async def test_a_refused_part_of_a_data_service_holds_all_behind_it_back() -> None:
    api = Refusing("Service")
    await apply(STACK, PLAN, api)  # type: ignore[arg-type]
    assert api.done == ["Pod shop-redis-2"]


class Moved:
    """An API server on which the object was taken away since it was looked at, and perhaps made anew."""

    def __init__(self, error: ApiError) -> None:
        self.error = error

    async def patch(self, ref: Ref, patch: Any) -> None:
        raise self.error

    async def create(self, manifest: Object) -> None:
        raise self.error


ANOTHER = ("metadata.uid", 'Invalid value: "1": field is immutable')
WITHOUT_NAMESPACE = 'namespaces "shop" not found'


@pytest.mark.parametrize(
    ("verb", "error", "is_passing"),
    [
        pytest.param(Verb.SCALE, ApiError(422, "Invalid", "immutable", [ANOTHER]), True, id="made anew"),
        pytest.param(Verb.GROW, ApiError(404, "NotFound", "gone"), True, id="gone"),
        pytest.param(Verb.SCALE, ApiError(422, "Invalid", "no", [("spec.replicas", "negative")]), False, id="refused"),
        pytest.param(Verb.CREATE, ApiError(404, "NotFound", WITHOUT_NAMESPACE), False, id="no place for it"),
    ],
)
async def test_what_moved_since_the_look_is_looked_at_anew(verb: Verb, error: ApiError, is_passing: bool) -> None:
    """Nobody has to act: the next pass sees what is there now."""
    action = replace(an_action(Verb.CREATE, "Deployment", "shop-api", Stage.BACKEND), verb=verb, uid="1")
    (failure,) = await apply(STACK, [action], Moved(error))  # type: ignore[arg-type]
    assert failure.is_passing is is_passing
