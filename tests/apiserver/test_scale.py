"""`kubectl scale appstack`: the number of API pods, as every tool that scales knows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.apiserver.kit.field_cases import BASE
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.plugin import Plugin, write_kubeconfig
from tests.apiserver.kit.plugin_stack import kubectl
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    from pathlib import Path

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World


async def test_kubectl_scale_sets_the_number_of_api_pods(world: World, api: Api, tmp_path: Path) -> None:
    plugin = Plugin(write_kubeconfig(world.cluster, tmp_path / "kubeconfig", "scaled"))
    async with staging(world, api, "scaled") as stage:
        await stage.make_stack(BASE)
        await stage.reach_health()
        await kubectl(plugin, "scale", "appstack", NAME, "--replicas=3")
        await stage.reach_health()
        assert (await stage.get("Deployment", f"{NAME}-api"))["spec"]["replicas"] == 3
        told = json.loads(await kubectl(plugin, "get", "appstack", NAME, "--subresource=scale", "-o", "json"))
        assert (told["spec"]["replicas"], told["status"]["replicas"]) == (3, 3)
        chosen = await kubectl(plugin, "get", "pods", "-l", told["status"]["selector"], "-o", "name")
        assert sorted(chosen.split()) == [f"pod/{NAME}-api-{number}" for number in range(3)]
