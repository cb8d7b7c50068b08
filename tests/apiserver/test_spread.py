"""A pod that a drain has left on a shared node is moved at a real API server: once, as budgets and rights let it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml

from appstack_operator import converge, spread
from appstack_operator.client import ApiError
from appstack_operator.kinds import EVENT, NODE, STACK
from appstack_operator.spread import LOOK_SECONDS, MOVED
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.plugin import Plugin, write_kubeconfig
from tests.apiserver.kit.stage import NODES, Clock, Stage, staging
from tests.apiserver.kit.troubles import AT_ONCE, SPEC, a_shared_node, later, nothing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from appstack_operator.client import Api
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import World

API, POD = f"{NAME}-api", f"{NAME}-api-1"


@asynccontextmanager
async def a_free_node(stage: Stage) -> AsyncIterator[None]:
    """The third node is back and has no pod of the API."""
    path = NODE.path("", NODES[2])
    await stage.ask("POST", NODE.path(""), json={"metadata": {"name": NODES[2]}})
    node = await stage.ask("GET", path)
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    await stage.ask("PUT", f"{path}/status", json={**node, "status": ready})
    # A real API server keeps pods off a node that nobody has spoken for yet.
    await stage.ask("PUT", path, json={**await stage.ask("GET", path), "spec": {}})
    try:
        yield
    finally:
        await stage.ask("DELETE", path)


async def let_go(stage: Stage, pods: int) -> None:
    """What the budget of the API lets go now."""
    generation = (await stage.get("PodDisruptionBudget", API))["metadata"]["generation"]
    counts = {"currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2, "disruptionsAllowed": pods}
    await stage.put_status("PodDisruptionBudget", API, {**counts, "observedGeneration": generation})


async def look_later(stage: Stage, **time: int) -> tuple[dict[str, Object], bool]:
    """The conditions after a pass at that time, and whether the pod has been sent away."""
    deployment = await stage.get("Deployment", API)
    # Its controller has noticed the note, too: an annotation counts as a new generation.
    status = {**deployment["status"], "observedGeneration": deployment["metadata"]["generation"]}
    await stage.put_status("Deployment", API, status)
    async with later(nothing, **time)(stage):
        conditions = await stage.look()
    return conditions, "deletionTimestamp" in (await stage.get("Pod", POD))["metadata"]


async def noted(stage: Stage) -> str:
    annotations: dict[str, str] = (await stage.get("Deployment", API))["metadata"]["annotations"]
    return annotations.get(MOVED, "")


async def come_back(stage: Stage, pod: Object) -> None:
    """The pod ends, and the one in its place comes to the same node."""
    await stage.ask("DELETE", stage.path("Pod", POD), json=AT_ONCE)
    kept = {key: pod["metadata"][key] for key in ("name", "labels") if key in pod["metadata"]}
    await stage.ask("POST", stage.path("Pod"), json={"metadata": kept, "spec": pod["spec"]})
    await stage.put_status("Pod", POD, pod["status"])


@asynccontextmanager
async def sharing_a_node(world: World, api: Api, name: str) -> AsyncIterator[tuple[Stage, Object]]:
    """A healthy stack of which one pod of the API has just come to the node of the other; a third node is free."""
    async with staging(world, api, name) as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await stage.settle_on_nodes()
        async with a_shared_node(stage), a_free_node(stage):
            await let_go(stage, 1)
            yield stage, await stage.get("Pod", POD)


async def test_a_pod_on_a_shared_node_is_moved_once(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge, "datetime", Clock)
    async with sharing_a_node(world, api, "spread") as (stage, pod):
        # It has just come; then a budget has its word.
        conditions, is_sent = await look_later(stage)
        assert (conditions["HighlyAvailable"]["reason"], is_sent) == ("SharedNode", False)
        await let_go(stage, 0)
        deployment = await stage.get("Deployment", API)
        for seconds in (40, 100, 1000):
            conditions, is_sent = await look_later(stage, seconds=seconds)
            assert not is_sent
            assert "Reconciling" not in conditions
            assert stage.delay_seconds == LOOK_SECONDS, "soon, and no hammering"
        after = await stage.get("Deployment", API)
        assert after["metadata"]["resourceVersion"] == deployment["metadata"]["resourceVersion"], "it was no move"
        await let_go(stage, 1)
        assert (await look_later(stage, seconds=50))[1]
        assert (await noted(stage)).split()[1:] == [pod["metadata"]["uid"], "1"]
        events: list[Object] = (await stage.ask("GET", EVENT.path(stage.namespace)))["items"]
        notes = [each["note"] for each in events if each["reason"] == "PodMoved"]
        assert len(notes) == 1
        assert POD in notes[0]
        assert NODES[2] in notes[0]

        # It lands on the same node again: for five minutes it stays there, and nothing is written.
        await come_back(stage, pod)
        await let_go(stage, 1)
        await look_later(stage, seconds=55)
        before = await noted(stage)
        for minutes in (2, 3, 4):
            assert not (await look_later(stage, minutes=minutes))[1]
        assert await noted(stage) == before
        assert (await look_later(stage, minutes=7))[1]
        assert (await noted(stage)).endswith(" 2"), "it stays for longer the next time"
        await come_back(stage, pod)


async def test_another_drain_soon_after_a_move_is_answered_at_once(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for what the move had led to, and the stack stayed without its spread for five minutes."""
    monkeypatch.setattr(converge, "datetime", Clock)
    async with sharing_a_node(world, api, "spread-again") as (stage, pod):
        assert (await look_later(stage, seconds=50))[1]
        await come_back(stage, {**pod, "spec": {**pod["spec"], "nodeName": NODES[2]}})
        assert (await look_later(stage, seconds=55))[0]["HighlyAvailable"]["status"] == "True"
        await come_back(stage, pod)
        await let_go(stage, 1)
        assert (await look_later(stage, seconds=60))[1]
        assert (await noted(stage)).endswith(" 1"), "a row of moves begins anew"
        await come_back(stage, pod)


async def test_without_the_right_to_list_nodes_the_condition_says_so(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converge, "datetime", Clock)
    asked: list[Any] = []

    async def refuse(kind: Any, *arguments: Any, **options: Any) -> Any:
        if kind is NODE:
            asked.append(kind)
            raise ApiError(403, "Forbidden", "nodes is forbidden")
        return await listed(kind, *arguments, **options)

    async with staging(world, api, "unspread") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await stage.settle_on_nodes()
        async with a_shared_node(stage), a_free_node(stage):
            await let_go(stage, 1)
            listed = stage.operator.api.list
            await stage.look()
            assert asked == []
            monkeypatch.setattr(stage.operator.api, "list", refuse)
            conditions, is_sent = await look_later(stage, seconds=40)
            assert asked
            assert "may not list nodes" in conditions["HighlyAvailable"]["message"]
            assert not is_sent


async def test_people_are_told_of_a_move_that_is_due(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spread, "SETTLED", timedelta(hours=1))  # the operator has seen it, and waits
    plugin = Plugin(write_kubeconfig(world.cluster, tmp_path / "kubeconfig", "told-move"))
    manifest = {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": NAME}, "spec": SPEC}

    async def said(word: str) -> bool:
        planned, shown = await plugin.plan(manifest), await plugin.run("status", NAME)
        assert planned.code == 0, planned
        assert "nothing to do" in planned.out
        assert (word in planned.out) is (word in shown.out), shown.out
        as_data = yaml.safe_load((await plugin.run("status", NAME, "-o", "yaml")).out)
        assert any(word in note for note in as_data["notes"]) is (word in shown.out)
        return word in shown.out

    async with staging(world, api, "told-move") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await stage.settle_on_nodes()
        assert not await said(POD + " shares")
        async with a_shared_node(stage), a_free_node(stage):
            await let_go(stage, 1)
            await stage.look()
            assert await said(f"{POD} shares node {NODES[0]} with others of its kind: it is not moved before")
            monkeypatch.setattr(spread, "SETTLED", timedelta())
            assert await said(
                f"a move is due: Pod {POD}, since node {NODES[0]} has 2 api pods, and {NODES[2]} has room"
            )
