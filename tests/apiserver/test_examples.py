"""Each file of examples/ is applied as a user does it, and the operator carries it out."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory
from appstack_operator.kinds import BY_NAME, CHILDREN, STACK
from appstack_operator.ownership import HASH, annotation
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
# Nobody has these services: the operator says so, and waits with the backend.
EXTERNAL = {"postgres": "db.example.com", "redis": "redis.example.com", "rabbitmq": "rabbitmq.example.com"}
CONDITIONS = {"postgres": "PostgresReady", "redis": "RedisReady", "rabbitmq": "RabbitMQReady"}


def stacks_of(example: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(example.read_text()) if each and each["kind"] == STACK.name]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
    assert all(len(stacks_of(example)) == 1 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
async def test_an_example_is_carried_out(world: World, api: Api, example: Path) -> None:
    (manifest,) = stacks_of(example)
    async with staging(world, api, f"example-{example.stem}", manifest["metadata"]["name"]) as stage:
        await apply(world, stage, example)
        if manifest["spec"].get("redis", {}).get("mode") == "External":
            await waits_for_the_services(stage)
            return
        await stage.reach_health()
        conditions = await stage.look()
        assert "Stalled" not in conditions
        wrong = {name: each["message"] for name, each in conditions.items() if each["status"] != "True"}
        wrong.pop("HighlyAvailable", None)  # no pod has a node here
        assert wrong == {}
        made = {(each["kind"], each["metadata"]["name"]) for each in await objects_of(stage)}
        wanted = {("Deployment", f"{stage.name}-api"), ("StatefulSet", f"{stage.name}-postgres")}
        wanted |= {("CronJob", f"{stage.name}-{job['name']}") for job in manifest["spec"].get("cronJobs", [])}
        pools = manifest["spec"].get("backend", {}).get("workers", [])
        assert made >= wanted | {("Deployment", f"{stage.name}-worker-{pool['name']}") for pool in pools}


async def waits_for_the_services(stage: Stage) -> None:
    """Addresses in Secrets are asked, their silence is told; what needs no service is made."""
    conditions = await stage.look()
    assert "Stalled" not in conditions
    for component, host in EXTERNAL.items():
        told = conditions[CONDITIONS[component]]
        assert told["reason"] == "ExternalUnreachable", told["message"]
        assert host in told["message"]
    kinds = {each["kind"] for each in await objects_of(stage)}
    assert {"NetworkPolicy", "Secret"} <= kinds
    assert not kinds & {"StatefulSet", "Deployment", "Job"}


async def objects_of(stage: Stage) -> list[dict[str, Any]]:
    """What the operator made."""
    return [obj for kind in CHILDREN for obj in await stage.cast.list(BY_NAME[kind.name]) if annotation(obj, HASH)]


async def apply(world: World, stage: Stage, example: Path) -> None:
    """kubectl apply -f, Secrets and all."""
    environment = {**os.environ, "KUBECONFIG": str(world.folder / "admin.kubeconfig")}
    words = ("apply", "-n", stage.namespace, "-f", str(example))
    process = await asyncio.create_subprocess_exec(
        bin_directory() / "kubectl", *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
