"""What tools make of a stack's conditions that know nothing of AppStacks: kubectl wait, Flux, Argo CD by its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appstack_operator.kinds import STACK
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import staging
from tests.apiserver.kit.troubles import SPEC

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage


def kstatus(obj: dict[str, Any]) -> str:
    """The rules of sigs.k8s.io/cli-utils/pkg/kstatus for custom resources."""
    status = obj.get("status") or {}
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    if status.get("observedGeneration", obj["metadata"]["generation"]) != obj["metadata"]["generation"]:
        return "InProgress"
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    if "Ready" in conditions:
        return "Current" if conditions["Ready"] == "True" else "InProgress"
    return "Current"


def is_waited_for(obj: dict[str, Any]) -> bool:
    """Whether `kubectl wait --for=condition=Ready` still waits."""
    ready = next((each for each in obj["status"]["conditions"] if each["type"] == "Ready"), None)
    return ready is None or ready["status"] != "True" or ready["observedGeneration"] < obj["metadata"]["generation"]


async def seen(stage: Stage) -> tuple[str, bool]:
    live = await stage.get(STACK.name, NAME)
    return kstatus(live), is_waited_for(live)


async def test_a_stack_is_in_progress_until_it_is_current_and_failed_when_somebody_has_to_act(
    world: World, api: Api
) -> None:
    async with staging(world, api, "kstatus") as stage:
        await stage.make_stack(SPEC)
        await stage.look()
        assert await seen(stage) == ("InProgress", True)
        await stage.reach_health()
        assert await seen(stage) == ("Current", False)

        await stage.change_spec(backend={"image": "shop:2"})
        assert await seen(stage) == ("InProgress", True), "before the operator has looked"
        await stage.look()
        assert await seen(stage) == ("InProgress", True), "Ready stays True, and speaks of the former generation"
        job = [each["metadata"]["name"] for each in await stage.jobs() if each["status"].get("succeeded") is None]
        await stage.fail_job(job[0], "column price exists")
        await stage.look()
        assert await seen(stage) == ("Failed", True)
        assert (await stage.look())["Ready"]["status"] == "True", "the old version serves"

        await stage.change_spec(backend={"image": "shop:3"})
        await stage.reach_health()
        assert await seen(stage) == ("Current", False), "the next image is a fresh try"
