"""Every field that may change is changed on a live stack, pass by pass, until the API server holds what it asks for.

`test_fields.py` shows each field's effect in what a pass wants; this one that the passes carry it out. Volumes grow in
`test_volumes.py`: their claims must be bound for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from appstack_operator.kinds import STACK
from tests.apiserver.kit.field_cases import BASE, CASES, JOB, MANAGED, Case
from tests.apiserver.kit.stage import staging
from tests.apiserver.test_fields import by_target, value_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_operator.client import Api
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

pytestmark = pytest.mark.long
MOST_ROUNDS = 40
LIVE = [case for case in CASES if case.namespace == MANAGED and not case.field.endswith("storage.size")]


class Ground:
    """What the stack is put back to between cases; what can never go back (a size, a number of nodes) stays in it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.spec: dict[str, Any] = BASE
        self.images = 1

    async def put_back(self, change: dict[str, Any]) -> None:
        if not await self._put(self.spec):
            self.spec = merged(self.spec, change)
            assert await self._put(self.spec)

    async def _put(self, spec: dict[str, Any]) -> bool:
        live = await self.stage.get(STACK.name, self.stage.name)
        answer = await self.stage.cast.client.put(
            self.stage.path(STACK.name, self.stage.name), json={**live, "spec": spec}
        )
        assert answer.is_success or answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
        return answer.is_success

    def change_of(self, case: Case) -> dict[str, Any]:
        """A Job never changes: what is asked of the next one shows with the next image."""
        if case.target != JOB or not case.path:
            return case.change
        self.images += 1
        return merged({"backend": {"image": f"shop:{self.images}"}}, case.change)


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """As a merge patch does it, where nothing is taken away."""
    both = {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in change.items()
    }
    return {**base, **both}


@pytest.fixture(scope="module")
async def ground(world: World, api: Api) -> AsyncIterator[Ground]:
    async with staging(world, api, "fields-live") as stage:
        high = {"metadata": {"name": "high"}, "value": 1}
        await stage.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", json=high)
        await stage.make_stack(BASE)
        await stage.reach_health()
        yield Ground(stage)


async def found(stage: Stage, target: str) -> Object | None:
    """The live object; of the migration's Jobs the newest."""
    kind, _, name = target.partition(" ")
    answer = await stage.ask("GET", stage.path(kind))
    items = [{"kind": kind, **item} for item in answer["items"]]
    if target == JOB:
        jobs = [item for item in items if item["metadata"]["name"].startswith("shop-migrate-")]
        return max(jobs, key=lambda job: int(job["metadata"]["resourceVersion"]), default=None)
    return by_target(items).get(target) if name else None


@pytest.mark.parametrize("case", LIVE, ids=lambda case: case.field)
async def test_a_changed_field_is_carried_out(ground: Ground, case: Case) -> None:
    stage, change = ground.stage, ground.change_of(case)
    before = await found(stage, case.target)
    if case.path:
        assert before is None or value_at(before, case.path) != case.value, "the case must change something"
    await stage.change_spec(**change)
    for _ in range(MOST_ROUNDS):
        await stage.look()
        await stage.cast.play()
        after = await found(stage, case.target)
        if (value_at(after or {}, case.path) == case.value) if case.path else ((after is None) is not (before is None)):
            break
    else:
        said = {name: each["message"] for name, each in (await stage.look()).items() if each["status"] != "True"}
        raise AssertionError(f"{case.target} {case.path}: {after and value_at(after, case.path)}; {said}")
    await ground.put_back(change)
    await stage.reach_health()
