"""What kubectl wait, Flux and Argo CD make of a stack in each of its phases (docs/gitops.md), by their own code."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory, build_binaries
from appstack_operator import converge
from appstack_operator.kinds import BY_NAME, STACK
from tests.apiserver.kit.cast import build_pod
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import Clock, container_status, staging
from tests.apiserver.kit.troubles import NOT_READY, SPEC, answered, later, told

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage


def is_waited_for(obj: dict[str, Any]) -> bool:
    """Whether `kubectl wait --for=condition=Ready` still waits."""
    conditions = obj.get("status", {}).get("conditions", [])
    ready = next((each for each in conditions if each["type"] == "Ready"), None)
    return ready is None or ready["status"] != "True" or ready["observedGeneration"] < obj["metadata"]["generation"]


GUIDE = Path(__file__).parents[2] / "docs" / "gitops.md"
CHECK = "resource.customizations.health.appstack.dev_AppStack"


def script() -> str:
    """The check of the guide, as it stands there."""
    blocks = [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)]
    (check,) = [each["data"][CHECK] for each in blocks if each["kind"] == "ConfigMap"]
    return str(check)


def judge(obj: dict[str, Any], check: str) -> subprocess.CompletedProcess[str]:
    """Ask kstatus and Argo CD's engine for Lua about an object."""
    build_binaries(["gitops-health"])
    command = [str(bin_directory() / "gitops-health"), check]
    return subprocess.run(command, input=json.dumps(obj), capture_output=True, text=True, check=False)


def health(obj: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Status and message by the tool's name."""
    judged = judge(obj, script())
    assert judged.returncode == 0, judged.stderr
    answers: dict[str, dict[str, str]] = json.loads(judged.stdout)
    return answers


@dataclass(frozen=True, slots=True)
class Seen:
    """What each of them says of a stack."""

    flux: str
    is_waited_for: bool
    argo_cd: str


async def seen(stage: Stage) -> Seen:
    live = await stage.get(STACK.name, NAME)
    by = health(live)
    return Seen(by["flux"]["status"], is_waited_for(live), by["argo_cd"]["status"])


async def messages(stage: Stage) -> set[str]:
    """What the tools say of it to a person."""
    return {each["message"] for each in health(await stage.get(STACK.name, NAME)).values()}


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
        assert await seen(stage) == MOVING, "before the operator has looked"
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
        assert all("column price exists" in each for each in await messages(stage))
        assert (await stage.look())["Ready"]["status"] == "True", "the old version serves"
        assert await images(stage) == {"shop:1"}

        await stage.change_spec(backend={"image": "shop:3"})
        await stage.reach_health()
        assert await seen(stage) == DONE, "the next image is a fresh try"
        assert await images(stage) == {"shop:3"}


NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "shop:2 is not there"}}


async def make_pod_without_image(stage: Stage, deployment: dict[str, Any]) -> None:
    """A pod of the Deployment's newest template, for which no node gets the image."""
    pod = build_pod(deployment, f"{NAME}-api-x", "newest")
    await stage.make("Pod", pod["metadata"].pop("name"), metadata=pod["metadata"], spec=pod["spec"])
    state = container_status("api", NO_IMAGE, image="shop:2")
    await stage.put_status("Pod", f"{NAME}-api-x", {"phase": "Pending", "containerStatuses": [state]})


async def say_of_progress(stage: Stage, status: str, reason: str) -> None:
    """The controller of Deployments has looked at both, and says how far the API's is."""
    for name in (f"{NAME}-api", f"{NAME}-worker-bulk"):
        live = await stage.get("Deployment", name)
        seen = {**live["status"], "observedGeneration": live["metadata"]["generation"]}
        if name == f"{NAME}-api":
            said = [{"type": "Progressing", "status": status, "reason": reason}]
            seen |= {"replicas": 3, "updatedReplicas": 1, "conditions": said}
        await stage.put_status("Deployment", name, seen)


async def test_a_rollout_that_cannot_succeed_fails_when_its_time_is_up(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converge, "datetime", Clock)
    async with staging(world, api, "gitops-stuck") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await stage.change_spec(backend={"image": "shop:2"})
        await stage.look()
        await stage.cast.play()  # the migration succeeds
        await stage.look()
        deployment = await stage.get("Deployment", f"{NAME}-api")
        await make_pod_without_image(stage, {"apiVersion": "apps/v1", "kind": "Deployment", **deployment})
        await say_of_progress(stage, "True", "ReplicaSetUpdated")
        await stage.look()
        assert await seen(stage) == MOVING, "within its deadline"
        await say_of_progress(stage, "False", "ProgressDeadlineExceeded")
        monkeypatch.setattr(Clock, "ahead", timedelta(minutes=6))
        conditions = await stage.look()
        assert await seen(stage) == Seen("Failed", is_waited_for=True, argo_cd="Degraded")
        assert all("shop:2 is not there" in each for each in await messages(stage))
        assert conditions["Ready"]["status"] == "True", "the old version serves"

        monkeypatch.setattr(Clock, "ahead", timedelta())  # the next change has its own time
        await stage.change_spec(backend={"image": "shop:3"})
        assert await seen(stage) == MOVING
        await stage.look()
        assert await seen(stage) == MOVING, "while the next image migrates"
        await stage.cast.play()
        await stage.look()
        assert await seen(stage) == MOVING, "when it is on its way, and the controller has not looked"
        await say_of_progress(stage, "True", "ReplicaSetUpdated")
        await stage.reach_health()
        assert await seen(stage) == DONE


async def test_a_data_service_that_cannot_start_fails_when_its_time_is_up(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converge, "datetime", Clock)
    async with staging(world, api, "gitops-start") as stage:
        await stage.make_stack(SPEC)
        for _ in range(2):
            await stage.look()
            await stage.cast.play()
        pod = f"{NAME}-postgres-0"
        state = container_status("postgres", NO_IMAGE)
        await stage.put_status("PersistentVolumeClaim", f"data-{pod}", {"phase": "Bound"})
        async with told("Pod", pod, phase="Pending", conditions=[NOT_READY], containerStatuses=[state])(stage):
            await stage.look()
            assert await seen(stage) == MOVING
            async with later(minutes=11)(stage):
                await stage.look()
                assert await seen(stage) == Seen("Failed", is_waited_for=True, argo_cd="Degraded")
                assert all("shop:2 is not there" in each for each in await messages(stage))
        await stage.reach_health()
        assert await seen(stage) == DONE


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        ("return string.lower('HEALTHY')", "attempt to index a non-table object(nil) with key 'lower'"),
        ("return 'Healthy'", "not a table"),
    ],
)
def test_a_check_that_argo_cd_could_not_run_is_no_verdict(check: str, complaint: str) -> None:
    judged = judge({"apiVersion": "appstack.dev/v1alpha1", "kind": "AppStack", "metadata": {"name": NAME}}, check)
    assert judged.returncode != 0
    assert complaint in judged.stderr


async def test_an_outage_is_no_progress_and_a_pause_is_no_failure(world: World, api: Api) -> None:
    async with staging(world, api, "gitops-outage") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        async with answered(f"{NAME}-postgres-0", role="replica")(stage):
            await stage.look()
            assert await seen(stage) == OUTAGE
            assert all(f"{NAME}-postgres-0" in each for each in await messages(stage))
        await stage.look()
        assert await seen(stage) == DONE
        await stage.change_spec(paused=True)
        await stage.look()
        assert await seen(stage) == Seen("Current", is_waited_for=False, argo_cd="Suspended")
