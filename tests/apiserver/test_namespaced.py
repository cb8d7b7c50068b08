"""What the chart installs; and an operator for some namespaces: it has rights there alone, and serves nobody else."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory, build_binaries
from appstack_operator.kinds import BY_NAME, CHILDREN, STACK
from appstack_operator.ownership import HASH, annotation
from tests.apiserver.kit.operator import IMAGES
from tests.apiserver.kit.server import ACCOUNT
from tests.apiserver.kit.stage import staging
from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

CHART = Path(__file__).parents[2] / "charts" / "appstack-operator"
WATCHED, OUTSIDE = ("scoped-one", "scoped-two"), "scoped-none"
RIGHTS = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def render(*settings: str) -> list[dict[str, Any]]:
    """What the chart installs, beside its CRDs."""
    build_binaries(["helm"])
    home, release = ACCOUNT.split(":")[2:]
    images = [f"images.{image}={image}:1" for image in ("operator", "backend", "postgres", "redis", "rabbitmq")]
    values = [part for each in (*images, *settings) for part in ("--set", each)]
    command = [str(bin_directory() / "helm"), "template", release, str(CHART), "-n", home, *values]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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
        for each in rendered:
            namespace = each["metadata"].get("namespace")
            if each["kind"] in RIGHTS and namespace in WATCHED:
                group = "/apis/rbac.authorization.k8s.io/v1/namespaces"
                await outside.ask("POST", f"{group}/{namespace}/{each['kind'].lower()}s", json=each)
        for stage in (outside, *watched):
            await stage.make_stack({})
        with operating(world, rendered) as log:
            async with asyncio.timeout(90):
                while True:
                    if all([await made_by_an_operator(stage) for stage in watched]):
                        break
                    await asyncio.sleep(0.1)
            assert "orbidden" not in log.read_text()
        assert await made_by_an_operator(outside) == []
        untouched = await outside.get(STACK.name, outside.name)
        assert untouched["status"]["conditions"] == []
        assert "finalizers" not in untouched["metadata"]


@contextmanager
def operating(world: World, rendered: list[dict[str, Any]]) -> Iterator[Path]:
    """The operator with its own account and the chart's setting runs for as long as its log is of use."""
    (deployment,) = [each for each in rendered if each["kind"] == "Deployment"]
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    (namespaces,) = [each["value"] for each in env if each["name"] == "APPSTACK_WATCH_NAMESPACES"]
    kubeconfig, log = world.folder / "scoped.kubeconfig", world.folder / "scoped.log"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": server_of(world)}],
        "users": [{"name": "it", "user": {"token": "operator-a"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    kubeconfig.write_text(yaml.safe_dump(config))
    ports = {f"APPSTACK_{name}_PORT": str(free_port()) for name in ("METRICS", "HEALTH")}
    environment = {"KUBECONFIG": str(kubeconfig), "APPSTACK_WATCH_NAMESPACES": namespaces, **ports, **IMAGES}
    handle = world.zygote.fork(environment, log)
    try:
        yield log
    finally:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [])
        os.close(handle)


def server_of(world: World) -> dict[str, str]:
    return {"server": f"https://{world.cluster.api}", "certificate-authority": str(world.cluster.pki / "ca.crt")}


async def made_by_an_operator(stage: Stage) -> list[str]:
    """The objects that an operator made for the stage's stack."""
    found = [obj for kind in CHILDREN for obj in await stage.cast.list(BY_NAME[kind.name])]
    return [obj["metadata"]["name"] for obj in found if annotation(obj, HASH)]
