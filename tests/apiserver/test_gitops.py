"""What kubectl wait, Flux and Argo CD make of a stack in each of its phases: docs/gitops.md, by their own rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lupa import lua51

from appstack_operator.kinds import BY_NAME, STACK
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import staging
from tests.apiserver.kit.troubles import SPEC, answered

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


GUIDE = Path(__file__).parents[2] / "docs" / "gitops.md"
CHECK = "resource.customizations.health.appstack.dev_AppStack"
# Argo CD's Lua is 5.1, and knows none of these libraries unless it is told to.
UNKNOWN = ("string", "math", "io", "debug", "coroutine", "python")


def argo_cd(obj: dict[str, Any]) -> tuple[str, str]:
    """The health and its message by the check of the guide."""
    blocks = [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)]
    (script,) = [each["data"][CHECK] for each in blocks if each["kind"] == "ConfigMap"]
    lua = lua51.LuaRuntime()
    for name in UNKNOWN:
        lua.globals()[name] = None
    health = lua.execute(f"return function(obj) {script} end")(lua.table_from(obj, recursive=True))
    return health["status"], health["message"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What each of them says of a stack."""

    flux: str
    is_waited_for: bool
    argo_cd: str


async def seen(stage: Stage) -> Seen:
    live = await stage.get(STACK.name, NAME)
    return Seen(kstatus(live), is_waited_for(live), argo_cd(live)[0])


async def message(stage: Stage) -> str:
    return argo_cd(await stage.get(STACK.name, NAME))[1]


async def images(stage: Stage) -> set[str]:
    """What the API and the workers run."""
    deployments = await stage.cast.list(BY_NAME["Deployment"])
    return {each["spec"]["template"]["spec"]["containers"][0]["image"] for each in deployments}


MOVING = Seen("InProgress", is_waited_for=True, argo_cd="Progressing")
DONE = Seen("Current", is_waited_for=False, argo_cd="Healthy")
OUTAGE = Seen("InProgress", is_waited_for=True, argo_cd="Degraded")


async def test_each_phase_of_a_stack_is_told_apart(world: World, api: Api) -> None:
    async with staging(world, api, "gitops") as stage:
        await stage.make_stack(SPEC)
        assert argo_cd(await stage.get(STACK.name, NAME))[0] == "Progressing", "before the operator has looked"
        await stage.look()
        assert await seen(stage) == MOVING
        await stage.reach_health()
        assert await seen(stage) == DONE

        await stage.change_spec(backend={"image": "shop:2"})
        assert await seen(stage) == MOVING, "before the operator has looked"
        await stage.look()
        assert await seen(stage) == MOVING, "Ready stays True, and speaks of the former generation"
        job = [each["metadata"]["name"] for each in await stage.jobs() if each["status"].get("succeeded") is None]
        await stage.fail_job(job[0], "column price exists")
        await stage.look()
        assert await seen(stage) == Seen("Failed", is_waited_for=True, argo_cd="Degraded")
        assert "column price exists" in await message(stage)
        assert (await stage.look())["Ready"]["status"] == "True", "the old version serves"
        assert await images(stage) == {"shop:1"}

        await stage.change_spec(backend={"image": "shop:3"})
        await stage.reach_health()
        assert await seen(stage) == DONE, "the next image is a fresh try"
        assert await images(stage) == {"shop:3"}


async def test_an_outage_is_no_progress_and_a_pause_is_no_failure(world: World, api: Api) -> None:
    async with staging(world, api, "gitops-outage") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        async with answered(f"{NAME}-postgres-0", role="replica")(stage):
            await stage.look()
            assert await seen(stage) == OUTAGE
            assert f"{NAME}-postgres-0" in await message(stage)
        await stage.look()
        assert await seen(stage) == DONE
        await stage.change_spec(paused=True)
        await stage.look()
        assert await seen(stage) == Seen("Current", is_waited_for=False, argo_cd="Suspended")
