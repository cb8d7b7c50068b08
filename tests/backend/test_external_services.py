"""The operator's questions to services of somebody else, asked of real servers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from appstack_operator.services.external import ask_external
from appstack_operator.services.rabbitmq import observe_external_queues
from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_operator.observed import ExternalAnswer


async def asked(component: str, **secret: str) -> ExternalAnswer:
    answer = (await ask_external({component: secret}))[component]
    for value in secret.values():
        assert "://" not in value or value not in answer.error, "an URL with its password is never repeated"
    return answer


async def works(component: str, **secret: str) -> bool:
    """Whether it has no error, once it answers in time: on a busy machine two seconds may be over before."""
    for _ in range(30):
        answer = await asked(component, **secret)
        if "no answer within" not in answer.error:
            break
    return answer.error == ""


async def test_what_works_has_no_error(postgres: str, redis: dict[str, str], rabbitmq: str) -> None:
    assert await works("postgres", DATABASE_URL=postgres, DATABASE_READONLY_URL=postgres)
    assert await works("redis", **redis)
    assert await works("rabbitmq", RABBITMQ_URL=rabbitmq)


async def test_a_wrong_password_of_postgresql_is_a_refusal(postgres: str) -> None:
    answer = await asked("postgres", DATABASE_URL=postgres.replace("secret", "opensesame"))
    assert answer.is_refused
    assert "password authentication failed" in answer.error
    assert "opensesame" not in answer.error


async def test_a_database_that_does_not_exist_is_a_refusal(postgres: str) -> None:
    answer = await asked("postgres", DATABASE_URL=postgres.rpartition("/")[0] + "/nowhere")
    assert answer.is_refused
    assert "nowhere" in answer.error


async def test_a_wrong_password_of_redis_is_a_refusal(redis: dict[str, str]) -> None:
    answer = await asked("redis", **{**redis, "REDIS_PASSWORD": "opensesame"})
    assert answer.is_refused
    assert "opensesame" not in answer.error


async def test_an_unknown_master_of_the_sentinels_is_named(redis: dict[str, str]) -> None:
    answer = await asked("redis", **{**redis, "REDIS_SENTINEL_MASTER": "nobody"})
    assert "nobody" in answer.error


async def test_a_wrong_password_of_rabbitmq_is_a_refusal(rabbitmq: str) -> None:
    answer = await asked("rabbitmq", RABBITMQ_URL=rabbitmq.replace("secret", "opensesame"))
    assert answer.is_refused, answer
    assert "opensesame" not in answer.error


async def test_a_virtual_host_that_does_not_exist_is_a_refusal(rabbitmq: str) -> None:
    answer = await asked("rabbitmq", RABBITMQ_URL=rabbitmq.rpartition("/")[0] + "/nowhere")
    assert answer.is_refused, answer


@pytest.mark.parametrize(
    ("component", "key", "scheme"),
    [("postgres", "DATABASE_URL", "postgresql"), ("redis", "REDIS_URL", "redis"), ("rabbitmq", "RABBITMQ_URL", "amqp")],
)
async def test_a_closed_port_is_named(component: str, key: str, scheme: str) -> None:
    place = f"127.0.0.1:{free_port()}"
    answer = await asked(component, **{key: f"{scheme}://app:opensesame@{place}/x"})
    assert not answer.is_refused
    assert key in answer.error
    assert place in answer.error
    assert "opensesame" not in answer.error


@asynccontextmanager
async def a_silent_port() -> AsyncIterator[str]:
    """Takes connections and says nothing, as behind a broken load balancer."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@pytest.mark.parametrize(
    ("component", "key", "scheme"),
    [("postgres", "DATABASE_URL", "postgresql"), ("redis", "REDIS_URL", "redis"), ("rabbitmq", "RABBITMQ_URL", "amqp")],
)
async def test_a_silent_port_is_given_up_soon(component: str, key: str, scheme: str) -> None:
    async with a_silent_port() as place:
        began = asyncio.get_running_loop().time()
        answer = await asked(component, **{key: f"{scheme}://app:opensesame@{place}/x"})
        assert answer.error
        assert asyncio.get_running_loop().time() - began < 60, "for ever, without a limit"


async def test_queues_of_an_external_broker_are_read_through_its_management_api() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.raw_path.partition("?")[0] == "/prefix/api/queues/my%20host"
        if request.headers["Authorization"] != "Basic YXBwOnAvdw==":  # app:p/w
            return web.Response(status=401)
        return web.json_response([{"name": "bulk", "messages_ready": 5, "messages_unacknowledged": 2}])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    secret = {
        "RABBITMQ_URL": "amqp://app:p%2Fw@broker/my%20host",
        "RABBITMQ_MANAGEMENT_URL": f"http://{host}:{port}/prefix",
    }
    try:
        found = await observe_external_queues(secret)
        refused = await observe_external_queues({**secret, "RABBITMQ_URL": "amqp://app:opensesame@broker/my%20host"})
    finally:
        await runner.cleanup()
    assert found.knows_backlog
    assert (found.backlog, found.in_hand) == ({"bulk": 7}, {"bulk": 2})
    assert not refused.knows_backlog
    assert "401" in refused.error
    assert "opensesame" not in refused.error


async def test_without_a_management_api_nobody_knows_the_backlog() -> None:
    found = await observe_external_queues({"RABBITMQ_URL": "amqp://app:app@broker/%2F"})
    assert not found.knows_backlog
    assert "RABBITMQ_MANAGEMENT_URL" in found.error
