"""The management API's answers in our words, asked of a real HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from appstack_operator.services import rabbitmq
from appstack_operator.services.rabbitmq import authorization, observe_rabbitmq
from tests.unit.operator.factories import a_context, a_pod, a_stack

if TYPE_CHECKING:
    import pytest

NODES = [
    {"name": "rabbit@shop-rabbitmq-0.pods.shop", "running": True, "partitions": [], "mem_alarm": False},
    {"name": "rabbit@shop-rabbitmq-1.pods.shop", "running": True, "partitions": ["rabbit@x"], "disk_free_alarm": True},
    {"name": "rabbit@shop-rabbitmq-2.pods.shop", "running": False},
]
QUEUES = [
    {"name": "bulk", "messages_ready": 5, "messages_unacknowledged": 2},
    {"name": "without a leader"},
]


async def test_nodes_and_backlogs_are_read_from_the_first_node_that_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = a_context().credentials

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == authorization(credentials)["Authorization"]
        return web.json_response(NODES if request.path == "/api/nodes" else QUEUES)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.2", 0).start()
    monkeypatch.setattr(rabbitmq, "MANAGEMENT_PORT", runner.addresses[0][1])
    stack = a_stack()
    pods = [a_pod(stack, "rabbitmq", 0, podIP="127.0.0.1"), a_pod(stack, "rabbitmq", 1, podIP="127.0.0.2")]
    seen = await observe_rabbitmq(stack, pods, credentials)
    await runner.cleanup()

    assert seen.error == ""
    assert [(node.pod, node.is_running) for node in seen.nodes] == [
        ("shop-rabbitmq-0", True),
        ("shop-rabbitmq-1", True),
        ("shop-rabbitmq-2", False),
    ]
    assert seen.nodes[1].partitions == ("rabbit@x",)
    assert seen.nodes[1].alarms == ("disk",)
    assert seen.backlog == {"bulk": 7}


async def test_the_silence_of_all_nodes_names_each() -> None:
    stack = a_stack()
    seen = await observe_rabbitmq(stack, [a_pod(stack, "rabbitmq", 0)], a_context().credentials)
    assert seen.error == "shop-rabbitmq-0: the pod has no address yet"
