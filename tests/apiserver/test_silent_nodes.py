"""A node falls silent: its pods leave their Services within seconds, by the chart's rights; the last one stays."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from appstack_operator.apply import apply
from appstack_operator.assess.pods import NODE_SILENT
from appstack_operator.kinds import BY_NAME, EVENT
from appstack_operator.marks import plan_marks
from tests.apiserver.kit.life import MANAGED_SPEC, NAME
from tests.apiserver.kit.responders import PORTS
from tests.apiserver.kit.stage import NODES, staging
from tests.apiserver.kit.troubles import AT_ONCE
from tests.apiserver.test_namespaced import forbidden, grant, is_settled, operating, render
from tests.silence import a_silent_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from appstack_operator.client import Api
    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.operator import OperatorProcess
    from tests.apiserver.kit.stage import Stage

API_PORT = 8000
SPEC: dict[str, Any] = {**MANAGED_SPEC, "backend": {"image": "shop:1", "api": {"replicas": 3}}}
SENTINELS, BROKERS = f"{NAME}-redis-sentinel", f"{NAME}-rabbitmq"


@dataclass
class Nodes:
    """Three nodes, each with a pod of every component; any of them can be cut off."""

    stage: Stage
    world: World
    operator: OperatorProcess
    doors: dict[str, asyncio.Server] = field(default_factory=dict)  # address of an API pod -> what answers there
    asked: set[str] = field(default_factory=set)  # addresses of API pods

    async def settle(self, opened: AsyncExitStack) -> None:
        """Every pod has a node and an address of its own, and has been asked there."""
        second = random.randint(121, 126)
        for number in range(3):
            address = f"127.{second}.{random.randint(1, 250)}.{number + 1}"
            self.doors[address] = await opened.enter_async_context(
                await asyncio.start_server(self._hear, address, API_PORT)
            )
            told = {"podIP": address, "podIPs": [{"ip": address}]}
            await self.stage.change("Pod", f"{NAME}-api-{number}", {"status": told}, "/status")
        await self.stage.bind("")
        await self.comes_true(lambda: len(self.asked) == 3)

    async def _hear(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.add(writer.get_extra_info("sockname")[0])
        writer.close()

    @contextmanager
    def cut(self, node: str) -> Iterator[None]:
        """Nobody on this node says a word; then it refuses, which is one."""
        with ExitStack() as opened:
            for address, port in self.places(node):
                opened.enter_context(a_silent_port(address, port))
            yield

    def places(self, node: str) -> list[tuple[str, int]]:
        """Where the node's pods answered until now."""
        number = NODES.index(node)
        found = []
        for address, member in list(self.world.responders.members.items()):
            if member.namespace == self.stage.namespace and member.pod.endswith(f"-{number}"):
                self.world.responders.forget(address)
                self.world.responders._servers.pop(address).close()
                found.append((address, PORTS[member.component]))
        address = list(self.doors)[number]
        self.doors[address].close()
        return [*found, (address, API_PORT)]

    async def comes_true(self, is_true: Callable[[], bool], seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not is_true():
                self.operator.check()
                self.stage.cast.check()
                await asyncio.sleep(0.1)
                await self.look()

    async def look(self) -> None:
        """All pods as they are."""
        self.pods = {each["metadata"]["name"]: each for each in await self.stage.cast.list(BY_NAME["Pod"])}

    def marked(self) -> set[str]:
        """The pods that the operator has taken out of their Services."""
        return {name for name, pod in self.pods.items() if ready(pod).get("reason") == NODE_SILENT}

    async def tell_ready(self, number: int, status: str) -> None:
        """Kubelet says of a pod of the API whether it is ready."""
        told = {"type": "Ready", "status": status, "lastTransitionTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        await self.stage.change("Pod", f"{NAME}-api-{number}", {"status": {"conditions": [told]}}, "/status")
        await self.look()

    async def events(self) -> list[Object]:
        found = await self.stage.ask("GET", EVENT.path(self.stage.namespace))
        return [each for each in found["items"] if each["reason"] == NODE_SILENT]


def ready(pod: Object) -> Object:
    return next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")


@asynccontextmanager
async def three_nodes(world: World, api: Api, namespace: str) -> AsyncIterator[Nodes]:
    rendered = render(f"watchNamespaces={{{namespace}}}")
    async with staging(world, api, namespace) as stage, AsyncExitStack() as opened:
        await grant(stage, rendered)
        await stage.make_stack(SPEC)
        operator = opened.enter_context(operating(world, rendered))
        await opened.enter_async_context(stage.cast.playing())
        nodes = Nodes(stage, world, operator)
        async with asyncio.timeout(240):
            while not await is_settled(stage):
                operator.check()
                await asyncio.sleep(0.1)
        await nodes.settle(opened)
        yield nodes
        assert forbidden(operator) == []


async def test_the_pods_of_a_node_that_falls_silent_leave_their_services_and_the_last_one_stays(
    world: World, api: Api
) -> None:
    async with three_nodes(world, api, "silent-node") as nodes:
        for number in (0, 2):
            await nodes.tell_ready(number, "False")
        with nodes.cut(NODES[1]):
            await nodes.comes_true(lambda: {f"{SENTINELS}-1", f"{BROKERS}-1"} <= nodes.marked())
            await asyncio.sleep(3)
            await nodes.look()
            assert f"{NAME}-api-1" not in nodes.marked(), "the last one"
            assert not any(name.endswith(("-0", "-2")) for name in nodes.marked()), "those answer"
            await nodes.tell_ready(0, "True")
            await nodes.comes_true(lambda: f"{NAME}-api-1" in nodes.marked())
            await nodes.tell_ready(1, "True")
            assert f"{NAME}-api-1" not in nodes.marked()
            await nodes.comes_true(lambda: f"{NAME}-api-1" in nodes.marked())
            told = [each["note"] for each in await nodes.events()]
            assert sum(f"{NAME}-api-1" in note for note in told) == 1, told
        await nodes.comes_true(lambda: f"node {NODES[1]} is no longer taken for lost" in nodes.operator.said())
        await nodes.tell_ready(1, "True")
        await asyncio.sleep(4)
        await nodes.look()
        assert f"{NAME}-api-1" not in nodes.marked(), "kubelet has the last word"


async def test_an_operator_that_most_nodes_do_not_answer_takes_nothing_out(world: World, api: Api) -> None:
    async with three_nodes(world, api, "cut-off") as nodes:
        with nodes.cut(NODES[0]), nodes.cut(NODES[1]):
            await nodes.comes_true(lambda: "the operator itself seems to be cut off" in nodes.operator.said())
            await asyncio.sleep(6)
            await nodes.look()
            assert nodes.marked() == set()
            assert await nodes.events() == []


async def test_a_mark_hits_no_pod_that_has_changed_since_it_was_seen(world: World, api: Api) -> None:
    async with staging(world, api, "stale-mark") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await stage.bind("")
        name = f"{NAME}-api-1"

        stack = stage.operator.looks[stage.namespace, NAME].stack
        silent = {(await stage.get("Pod", name))["metadata"]["uid"]: NODES[1]}
        seen = await stage.operator.api.list(BY_NAME["Pod"], stage.namespace)
        actions = plan_marks(seen, silent, datetime.now(UTC))
        assert [action.target.name for action in actions] == [name]
        await stage.change("Pod", name, {"metadata": {"annotations": {"note": "somebody was faster"}}})
        assert [each.target.name for each in await apply(stack, actions, api)] == [name]
        assert ready(await stage.get("Pod", name))["status"] == "True"

        seen = await stage.operator.api.list(BY_NAME["Pod"], stage.namespace)
        actions = plan_marks(seen, silent, datetime.now(UTC))
        old = await stage.get("Pod", name)
        await stage.ask("DELETE", stage.path("Pod", name), json=AT_ONCE)
        assert [each.target.name for each in await apply(stack, actions, api)] == [name], "it is gone"
        kept = {key: old["metadata"][key] for key in ("name", "labels", "ownerReferences")}
        await stage.ask("POST", stage.path("Pod"), json={"metadata": kept, "spec": old["spec"]})
        await stage.put_status("Pod", name, old["status"])
        assert [each.target.name for each in await apply(stack, actions, api)] == [name], "another one has its name"
        assert ready(await stage.get("Pod", name))["status"] == "True"

        seen = await stage.operator.api.list(BY_NAME["Pod"], stage.namespace)
        silent = {(await stage.get("Pod", name))["metadata"]["uid"]: NODES[1]}
        assert await apply(stack, plan_marks(seen, silent, datetime.now(UTC)), api) == []
        said = ready(await stage.get("Pod", name))
        assert (said["status"], said["reason"]) == ("False", NODE_SILENT)
