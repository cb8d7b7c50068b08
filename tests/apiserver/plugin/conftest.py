"""The converged stack that kubectl appstack is asked about, one for all files here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.kinds import BY_NAME
from tests.apiserver.kit.life import Life, World, living
from tests.apiserver.kit.operator import IMAGES
from tests.apiserver.kit.plugin import Plugin, write_kubeconfig
from tests.apiserver.kit.plugin_stack import HOME, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.apiserver.kit.server import BareCluster


@pytest.fixture(scope="package")
async def shop(world: World) -> AsyncIterator[Life]:
    """A converged stack; its operator has ended, its Deployment says which images are bundled."""
    async with living(world, NAMESPACE) as life:
        await life.ask("POST", "/api/v1/namespaces", json={"metadata": {"name": HOME}})
        await life.ask("POST", BY_NAME["Deployment"].path(HOME), json=build_operator_deployment())
        await life.create()
        await life.undisturbed(life.is_ready)
        yield life


def build_operator_deployment() -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "appstack-operator"}
    env = [{"name": name, "value": value} for name, value in IMAGES.items()]
    pod = {"containers": [{"name": "operator", "image": "operator:1", "env": env}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return {"metadata": {"name": "appstack-operator", "labels": labels}, "spec": {"replicas": 0, **spec}}


@pytest.fixture(scope="package")
def plugin(cluster: BareCluster, folder: Path) -> Plugin:
    return Plugin(write_kubeconfig(cluster, folder / "plugin.kubeconfig", NAMESPACE))
