"""The management API's answers in our words, asked of a real HTTP server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import ClientTimeout, web

from appstack_operator.services import http, rabbitmq
from appstack_operator.services.rabbitmq import ask_backlog, authorization, observe_rabbitmq
from tests.unit.operator.factories import a_context, a_pod, a_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import pytest

    from appstack_operator.observed import RabbitmqAnswers

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Served = dict[str, list[dict[str, Any]]]
NAMES = [f"rabbit@shop-rabbitmq-{number}.pods.shop" for number in range(3)]


def a_view(running: str, **more: Any) -> list[dict[str, Any]]:
    """What a node says of all three: who runs, and more of each."""
    return [{"name": name, "running": str(number) in running, **more} for number, name in enumerate(NAMES)]


QUEUES = [
    {"name": "bulk", "messages_ready": 5, "messages_unacknowledged": 2},
    {"name": "without a leader"},
]


@asynccontextmanager
async def answering(
    answer: Handler, monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str] = ("127.0.0.1",), port: int = 0
) -> AsyncIterator[int]:
    """Management APIs at these addresses, all on one port, that answer so."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    for address in addresses:
        await web.TCPSite(runner, address, port).start()
        port = runner.addresses[0][1]
    monkeypatch.setattr(rabbitmq, "MANAGEMENT_PORT", port)
    yield port
    await runner.cleanup()


@asynccontextmanager
async def nodes_at(
    views: Served,
    monkeypatch: pytest.MonkeyPatch,
    facts: list[Any] | None = None,
    *,
    others_are_lost: bool = False,
    port: int = 0,
) -> AsyncIterator[int]:
    """Address -> the node there that answers so; all on one port."""
    credentials = a_context().credentials

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == authorization(credentials)["Authorization"]
        address = request.transport.get_extra_info("sockname")[0] if request.transport else ""
        if request.path == "/api/nodes":
            assert "disable_stats" in request.query  # else a node asks those that it has lost
            return web.json_response([{"name": node["name"], "running": node["running"]} for node in views[address]])
        if facts is not None and request.path.startswith("/api/nodes/"):
            return web.json_response(facts)
        if others_are_lost and request.path != "/api/nodes":
            await asyncio.sleep(60)
        name = request.path.removeprefix("/api/nodes/")
        return web.json_response(next((node for node in views[address] if node["name"] == name), QUEUES))

    async with answering(answer, monkeypatch, addresses=tuple(views), port=port) as port:
        yield port


async def ask(*numbers: int) -> RabbitmqAnswers:
    stack = a_stack()
    pods = [a_pod(stack, "rabbitmq", number, podIP=f"127.0.0.{number + 1}") for number in numbers]
    return await observe_rabbitmq(stack, pods, a_context().credentials)


async def test_a_node_that_is_silent_is_known_by_the_others_words(monkeypatch: pytest.MonkeyPatch) -> None:
    view = a_view("01", partitions=["rabbit@x"], disk_free_alarm=True, mem_alarm=False)
    async with nodes_at({"127.0.0.2": view}, monkeypatch):
        seen = await ask(0, 1)
    assert (seen.error, seen.is_late) == ("", False), "it was found to be away"
    assert [(node.pod, node.is_running) for node in seen.nodes] == [
        ("shop-rabbitmq-0", True),
        ("shop-rabbitmq-1", True),
        ("shop-rabbitmq-2", False),
    ]
    assert seen.nodes[1].partitions == ("rabbit@x",)
    assert seen.nodes[1].alarms == ("disk",)
    assert [node.counts is None for node in seen.nodes] == [True, False, True]
    assert seen.backlog == {"bulk": 7, "without a leader": None}
    assert seen.in_hand == {"bulk": 2}


async def test_one_node_that_is_late_is_told_beside_the_others_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks asks once more, as of a service whose members answer each for itself."""
    monkeypatch.setattr(http, "TIMEOUT", ClientTimeout(total=2))

    async def answer(request: web.Request) -> web.Response:
        if request.transport and request.transport.get_extra_info("sockname")[0] == "127.0.0.1":
            await asyncio.sleep(60)
        return web.json_response(a_view("012") if request.path == "/api/nodes" else [])

    async with answering(answer, monkeypatch, addresses=("127.0.0.1", "127.0.0.2")):
        seen = await ask(0, 1)
    assert (seen.error, len(seen.nodes), seen.is_late) == ("", 3, True)


async def test_every_node_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application runs everywhere and nobody lists a partition: only the words of who runs differ."""
    views = {"127.0.0.1": a_view("0"), "127.0.0.2": a_view("12"), "127.0.0.3": a_view("12", partitions=["a"])}
    async with nodes_at(views, monkeypatch):
        seen = await ask(0, 1, 2)
    assert [node.is_running for node in seen.nodes] == [False, True, True]
    assert [node.counts for node in seen.nodes] == [(NAMES[0],), (NAMES[1], NAMES[2]), (NAMES[1], NAMES[2])]
    assert [node.partitions for node in seen.nodes] == [(), (), ("a",)]


async def test_a_node_that_waits_for_a_lost_one_has_spoken_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of itself and lengths of queues make it ask the others: the nodes that serve are known without."""
    monkeypatch.setattr(http, "TIMEOUT", ClientTimeout(total=2))
    async with nodes_at({"127.0.0.1": a_view("0"), "127.0.0.2": a_view("01")}, monkeypatch, others_are_lost=True):
        seen = await ask(0, 1)
    assert seen.error == ""
    assert [node.is_running for node in seen.nodes] == [True, True, False]
    assert not seen.knows_backlog
    assert seen.backlog_error.startswith("shop-rabbitmq-1: ")


async def test_a_node_that_has_just_started_knows_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ then answers with Erlang's empty list where an object is due."""
    view = [{"name": name, "running": True} for name in NAMES[:1]]
    async with nodes_at({"127.0.0.1": view}, monkeypatch, facts=[]):
        seen = await ask(0)
    assert (seen.error, seen.nodes[0].counts, seen.nodes[0].alarms) == ("", (NAMES[0],), ())


async def test_the_silence_of_all_nodes_names_each() -> None:
    stack = a_stack()
    seen = await observe_rabbitmq(stack, [a_pod(stack, "rabbitmq", 0)], a_context().credentials)
    assert seen.error == "shop-rabbitmq-0: the pod has no address yet"


async def test_one_connection_serves_for_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        connections.add(request.transport and request.transport.get_extra_info("peername"))
        return web.json_response(QUEUES, headers={"Set-Cookie": "m=1"} if "Cookie" not in request.headers else {})

    pods = [a_pod(a_stack(), "rabbitmq", 0, podIP="127.0.0.1")]
    async with answering(answer, monkeypatch):
        async with http.kept_connections():
            for _ in range(3):
                told = await ask_backlog(pods, a_context().credentials)
                assert told is not None
                assert (told.backlog, told.in_hand) == ({"bulk": 7, "without a leader": None}, {"bulk": 2})
            assert len(connections) == 1
        await ask_backlog(pods, a_context().credentials)
        assert len(connections) == 2


async def test_a_server_that_comes_again_is_asked_through_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that was kept is dead: that is no answer of the service."""
    port = 0
    async with http.kept_connections():
        for _ in range(2):
            async with nodes_at({"127.0.0.1": a_view("0")}, monkeypatch, port=port) as port:
                assert (await ask(0)).error == ""
        refused = await ask(0)
    assert "Cannot connect" in refused.error
    assert not refused.is_late


async def test_each_stack_is_asked_with_its_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        told.append(request.headers["Authorization"])
        return web.json_response([])

    ones = [replace(a_context().credentials, rabbitmq=password) for password in ("one", "two")]
    async with answering(answer, monkeypatch), http.kept_connections():
        for credentials in ones:
            await ask_backlog([a_pod(a_stack(), "rabbitmq", 0, podIP="127.0.0.1")], credentials)
    assert told == [authorization(credentials)["Authorization"] for credentials in ones]
