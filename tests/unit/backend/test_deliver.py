"""One attempt to deliver a webhook: what is sent, where to, and which answers count as delivered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from appstack_backend.settings import Settings
from appstack_backend.webhooks import guard
from appstack_backend.webhooks.deliver import Outcome, Sender
from appstack_backend.webhooks.sign import new_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY = '{"type": "product.changed"}'


@asynccontextmanager
async def target(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port that gives one answer to everybody, and the requests that came there; no answer: it says nothing."""
    requests: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(BODY.encode()))
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], requests


def some_settings(**values: Any) -> Settings:
    return Settings(**{"database_url": "x", "webhook_allow_private": True, **values})


@asynccontextmanager
async def sending(**settings: Any) -> AsyncIterator[Sender]:
    sender = Sender(some_settings(**settings))
    yield sender
    await sender.close()


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def test_each_attempt_is_signed_for_the_moment_at_which_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers refuse a time that is minutes away from theirs, and what is repeated may be two days old."""
    secret = new_secret()
    async with target(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, requests), sending() as sender:
        for now in (1_800_000_000.9, 1_800_172_800.0):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            assert await sender.send(f"http://127.0.0.1:{port}/hook?a=b", secret, "msg", BODY) == Outcome(204, None)
    for request, now in zip(requests, (1_800_000_000, 1_800_172_800), strict=True):
        headers = headers_of(request)
        assert request.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
        assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg", str(now))
        key = b64decode(secret.removeprefix("whsec_"))
        signed = hmac.digest(key, f"msg.{now}.{BODY}".encode(), hashlib.sha256)
        assert headers["webhook-signature"] == "v1," + b64encode(signed).decode()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((200, None), (202, None), (299, None)),
        *((301, "the target answered 301"), (307, "the target answered 307"), (404, "the target answered 404")),
        *((429, "the target answered 429"), (500, "the target answered 500")),
    ],
)
async def test_what_counts_as_delivered(status: int, error: str | None) -> None:
    answer = f"HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n".encode()
    async with target(answer) as (port, requests), sending() as sender:
        for _ in range(2):
            assert await sender.send(f"http://127.0.0.1:{port}/", new_secret(), "msg", BODY) == Outcome(status, error)
    assert len(requests) == 2, "no redirect is followed"
    assert not any("cookie" in headers_of(request) for request in requests)


async def test_a_target_that_says_nothing_is_not_waited_for() -> None:
    async with target(b"") as (port, requests), sending(webhook_timeout_seconds=2.5) as sender, asyncio.timeout(30):
        outcome = await sender.send(f"http://127.0.0.1:{port}/", new_secret(), "msg", BODY)
    assert (outcome, len(requests)) == (Outcome(None, "no answer within 2.5 s"), 1)


async def test_a_target_that_is_not_there_is_no_failure_of_ours() -> None:
    async with target(b"") as (port, _):
        pass
    async with sending() as sender:
        outcome = await sender.send(f"http://127.0.0.1:{port}/", new_secret(), "msg", BODY)
    assert outcome == Outcome(None, "the target cannot be reached")


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not to what the name leads to when it is asked for again."""

    async def resolve(host: str, port: int) -> list[str]:
        assert host == "checked.test"
        return ["127.0.0.1"]

    monkeypatch.setattr(guard.NAMES, "resolve", resolve)
    async with target(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, requests):
        async with sending() as sender:
            outcome = await sender.send(f"http://checked.test:{port}/", new_secret(), "msg", BODY)
        assert outcome == Outcome(204, None)
        assert headers_of(requests[0])["host"] == f"checked.test:{port}"
        async with sending(webhook_allow_private=False) as sender:
            outcome = await sender.send(f"http://checked.test:{port}/", new_secret(), "msg", BODY)
        assert outcome == Outcome(None, "the host has an address that is not public")
    assert len(requests) == 1


def test_the_intervals_are_those_of_the_standard() -> None:
    delays = some_settings().webhook_delays
    assert delays == [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600]
