"""Patroni's answers in our words, asked of a real HTTP server."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientTimeout, web

from appstack_operator.services import http, postgres
from appstack_operator.services.postgres import observe_postgres
from tests.unit.operator.factories import a_context, a_pod, a_stack

PRIMARY = {"state": "running", "role": "primary", "timeline": 3, "xlog": {"location": 5_000}}
REPLICA = {
    "state": "running",
    "role": "replica",
    "replication_state": "streaming",
    "timeline": 3,
    "sync_standby": True,
    "pending_restart": True,
    "xlog": {"received_location": 4_000, "replayed_location": 3_000},
}


async def test_each_member_s_answer_is_read_and_silence_is_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {"127.0.0.1": PRIMARY, "127.0.0.2": REPLICA}

    async def patroni(request: web.Request) -> web.Response:
        # Patroni says 503 where it is not the primary: the body counts all the same.
        return web.json_response(answers[request.host.partition(":")[0]], status=503)

    app = web.Application()
    app.router.add_get("/patroni", patroni)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)
    await site.start()
    monkeypatch.setattr(postgres, "PATRONI_PORT", runner.addresses[0][1])
    stack = a_stack()
    pods = [a_pod(stack, "postgres", n, podIP=f"127.0.0.{n + 1}") for n in range(2)]
    pods += [a_pod(stack, "postgres", 2)]
    seen = await observe_postgres(stack, pods, a_context().credentials)
    await runner.cleanup()

    primary, replica, unborn = seen.members
    assert seen.primary == primary
    assert (primary.timeline, primary.lag_bytes) == (3, None)
    assert (replica.state, replica.is_sync, replica.pending_restart) == ("streaming", True, True)
    assert replica.lag_bytes == 1_000
    assert unborn.error == "the pod has no address yet"


async def test_an_answer_that_does_not_come_is_late_and_a_refusal_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)

    kept: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    monkeypatch.setattr(postgres, "PATRONI_PORT", server.sockets[0].getsockname()[1])
    monkeypatch.setattr(http, "TIMEOUT", ClientTimeout(total=0.2))
    stack = a_stack()
    members = [a_pod(stack, "postgres", n, podIP=f"127.0.0.{n + 1}") for n in range(2)]
    late, refused = (await observe_postgres(stack, members, a_context().credentials)).members
    for writer in kept:
        writer.close()
    server.close()
    assert (bool(late.error), late.is_late) == (True, True)
    assert (bool(refused.error), refused.is_late) == (True, False)


@pytest.mark.parametrize("odd", [[], None, "ready", {"state": "running", "xlog": [1]}, {"role": "primary"}])
async def test_an_answer_of_another_shape_is_no_answer_and_ends_no_pass(
    monkeypatch: pytest.MonkeyPatch, odd: object
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(odd)

    app = web.Application()
    app.router.add_get("/patroni", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(postgres, "PATRONI_PORT", runner.addresses[0][1])
    stack = a_stack()
    (member,) = (
        await observe_postgres(stack, [a_pod(stack, "postgres", podIP="127.0.0.1")], a_context().credentials)
    ).members
    await runner.cleanup()
    assert member.error.endswith("does not speak as Patroni does")
    assert not member.is_late
