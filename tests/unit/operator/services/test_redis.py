"""Redis and RabbitMQ tell lateness from a refusal, asked of a real socket that says nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientTimeout

from appstack_operator.services import http, rabbitmq, redis
from appstack_operator.services.rabbitmq import observe_rabbitmq
from appstack_operator.services.redis import observe_redis
from tests.unit.operator.factories import a_context, a_pod, a_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STACK, CREDENTIALS = a_stack(), a_context().credentials
SPEAKS, REFUSES = "127.0.0.1", "127.0.0.2"


@asynccontextmanager
async def mute() -> AsyncIterator[int]:
    """The port of a server that takes connections and never answers."""
    kept: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)

    server = await asyncio.start_server(say_nothing, SPEAKS, 0)
    yield server.sockets[0].getsockname()[1]
    for writer in kept:
        writer.close()
    server.close()


@pytest.mark.parametrize(("address", "is_late"), [(SPEAKS, True), (REFUSES, False)])
async def test_lateness_is_told_from_a_refusal(monkeypatch: pytest.MonkeyPatch, address: str, *, is_late: bool) -> None:
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(http, "TIMEOUT", ClientTimeout(total=0.2))
    pods = [a_pod(STACK, component, podIP=address) for component in ("redis", "redis-sentinel", "rabbitmq")]
    async with mute() as port:
        for module, name in ((redis, "REDIS_PORT"), (redis, "SENTINEL_PORT"), (rabbitmq, "MANAGEMENT_PORT")):
            monkeypatch.setattr(module, name, port)
        said = await observe_redis(STACK, pods[:2], {}, CREDENTIALS)
        broker = await observe_rabbitmq(STACK, pods[2:], CREDENTIALS)
    answers = [*said.sentinels, *said.instances, broker]
    assert len(answers) == 3
    assert [(bool(each.error), each.is_late) for each in answers] == [(True, is_late)] * 3
