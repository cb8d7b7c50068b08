"""What the chart installs; and an operator for some namespaces: it has rights there alone, and serves nobody else."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory, build_binaries
from appstack_operator.kinds import BY_NAME, CHILDREN, STACK
from appstack_operator.objects import STACK_LABEL
from appstack_operator.ownership import HASH, annotation
from tests.apiserver.kit.life import MANAGED_SPEC, UPDATE
from tests.apiserver.kit.operator import OperatorProcess
from tests.apiserver.kit.server import ACCOUNT
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

CHART = Path(__file__).parents[2] / "charts" / "appstack-operator"
WATCHED, OUTSIDE = ("scoped-one", "scoped-two"), "scoped-none"
LIFE = "scoped-life"
RIGHTS = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def render(*settings: str) -> list[dict[str, Any]]:
    """What the chart installs, beside its CRDs."""
    build_binaries(["helm"])
    home, release = ACCOUNT.split(":")[2:]
    images = [f"images.{image}={image}:1" for image in ("operator", "backend", "postgres", "redis", "rabbitmq")]
    values = [part for each in (*images, *settings) for part in ("--set", each)]
    command = [str(bin_directory() / "helm"), "template", release, str(CHART), "-n", home, *values]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """What it installs for these namespaces."""
    return render(f"watchNamespaces={{{','.join(WATCHED)}}}")


def test_prometheus_is_told_where_the_operator_is_and_keeps_its_labels() -> None:
    objects = {each["kind"]: each for each in render("podMonitor.enabled=true", "podMonitor.labels.release=prometheus")}
    monitor, template = objects["PodMonitor"], objects["Deployment"]["spec"]["template"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (container,) = template["spec"]["containers"]
    assert endpoint["port"] in {each["name"] for each in container["ports"]}
    assert endpoint["honorLabels"], "else the stack's namespace becomes exported_namespace, and no alert finds it"


def test_without_the_prometheus_operator_the_chart_needs_none(rendered: list[dict[str, Any]]) -> None:
    assert "PodMonitor" not in {each["kind"] for each in rendered}


def test_the_chart_grants_nothing_beyond_the_namespaces(rendered: list[dict[str, Any]]) -> None:
    granted = {(each["kind"], each["metadata"].get("namespace")) for each in rendered if each["kind"] in RIGHTS}
    home = ACCOUNT.split(":")[2]  # for the Lease
    assert {kind for kind, _ in granted} == {"Role", "RoleBinding"}
    assert {namespace for _, namespace in granted} <= {*WATCHED, home}


async def test_only_stacks_of_the_namespaces_are_looked_after(
    world: World, api: Api, rendered: list[dict[str, Any]]
) -> None:
    async with AsyncExitStack() as opened:
        *watched, outside = [
            await opened.enter_async_context(staging(world, api, namespace)) for namespace in (*WATCHED, OUTSIDE)
        ]
        for stage in watched:
            await grant(stage, rendered)
        for stage in (outside, *watched):
            await stage.make_stack({})
        with operating(world, rendered) as operator:
            async with asyncio.timeout(240):
                while not all([await made_by_an_operator(stage) for stage in watched]):
                    operator.check()
                    await asyncio.sleep(0.1)
            assert forbidden(operator) == []
        assert await made_by_an_operator(outside) == []
        untouched = await outside.get(STACK.name, outside.name)
        assert untouched["status"]["conditions"] == []
        assert "finalizers" not in untouched["metadata"]


async def test_a_stack_is_made_changed_repaired_and_ended_with_these_rights_alone(world: World, api: Api) -> None:
    rendered = render(f"watchNamespaces={{{LIFE}}}")
    async with staging(world, api, LIFE) as stage:
        await grant(stage, rendered)
        await stage.make_stack(MANAGED_SPEC)
        with operating(world, rendered) as operator:
            async with stage.cast.playing():
                await comes_true(stage, operator, is_settled)
                await stage.change_spec(**UPDATE)
                await comes_true(stage, operator, is_settled)
                before = await labels(stage)
                for label in ("app.kubernetes.io/instance", STACK_LABEL):  # one is seen and repaired, one looked for
                    for kind, name in before:
                        await stage.change(kind, name, {"metadata": {"labels": {label: None}}})
                    assert await labels(stage) != before
                    await comes_true(stage, operator, partial(has_labels, wanted=before))
                await stage.ask("DELETE", stage.path(STACK.name, stage.name))
                await comes_true(stage, operator, is_gone)


async def grant(stage: Stage, rendered: list[dict[str, Any]]) -> None:
    """Give the operator what the chart grants it in the stage's namespace."""
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{stage.namespace}"
    for each in rendered:
        if each["kind"] in RIGHTS and each["metadata"].get("namespace") == stage.namespace:
            await stage.ask("POST", f"{group}/{each['kind'].lower()}s", json=each)


async def comes_true(stage: Stage, operator: OperatorProcess, is_true: Callable[[Stage], Awaitable[bool]]) -> None:
    """Wait for it; whatever the API server forbids meanwhile is a right that the chart lacks."""
    try:
        async with asyncio.timeout(240):
            while not await is_true(stage):
                stage.cast.check()
                operator.check()
                await asyncio.sleep(0.1)
    finally:
        assert forbidden(operator) == []


def forbidden(operator: OperatorProcess) -> list[str]:
    """What the operator was not allowed to do."""
    return [line for line in operator.said().splitlines() if "orbidden" in line]


async def is_settled(stage: Stage) -> bool:
    """Whether the stack is ready by its newest spec, and nothing is left to do."""
    stack = await stage.get(STACK.name, stage.name)
    conditions = {each["type"]: each["status"] for each in stack["status"]["conditions"]}
    is_current = stack["status"]["observedGeneration"] == stack["metadata"]["generation"]
    return is_current and conditions.get("Ready") == "True" and "Reconciling" not in conditions


async def labels(stage: Stage) -> dict[tuple[str, str], dict[str, str]]:
    """(kind, name) -> the labels of all that the operator made and kubelet or a controller does not."""
    found = [(kind.name, obj) for kind in CHILDREN for obj in await stage.cast.list(kind) if annotation(obj, HASH)]
    return {(kind, obj["metadata"]["name"]): obj["metadata"].get("labels") or {} for kind, obj in found}


async def has_labels(stage: Stage, wanted: dict[tuple[str, str], dict[str, str]]) -> bool:
    """Whether all is labelled as it was."""
    return await labels(stage) == wanted


async def is_gone(stage: Stage) -> bool:
    """Whether the stack and all of it has ended."""
    return not await stage.cast.list(STACK) and await stage.cast.has_collected()


@contextmanager
def operating(world: World, rendered: list[dict[str, Any]]) -> Iterator[OperatorProcess]:
    """The operator with its own account and the chart's setting."""
    (deployment,) = [each for each in rendered if each["kind"] == "Deployment"]
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    (namespaces,) = [each["value"] for each in env if each["name"] == "APPSTACK_WATCH_NAMESPACES"]
    server = {"server": f"https://{world.cluster.api}", "certificate-authority": str(world.cluster.pki / "ca.crt")}
    operator = OperatorProcess(world.zygote, server, namespaces, world.folder, token="operator-a")
    operator.start()
    try:
        yield operator
    finally:
        operator.kill()


async def made_by_an_operator(stage: Stage) -> list[str]:
    """The objects that an operator made for the stage's stack."""
    found = [obj for kind in CHILDREN for obj in await stage.cast.list(BY_NAME[kind.name])]
    return [obj["metadata"]["name"] for obj in found if annotation(obj, HASH)]
