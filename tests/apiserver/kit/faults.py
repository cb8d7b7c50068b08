"""What can go wrong between the operator and the API server; a seeded die with a budget decides when it does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from tests.apiserver.kit.proxy import FaultProxy

    Act = Callable[[FaultProxy, web.Request, bytes, random.Random], Awaitable[web.StreamResponse]]

WRITING = {"POST", "PUT", "PATCH", "DELETE"}
# Longer than any deadline of the operator's own: for it, there was no answer.
TOO_LATE_SECONDS = 11.0


def is_write(request: web.Request) -> bool:
    return request.method in WRITING


def is_watch(request: web.Request) -> bool:
    return request.method == "GET" and "watch" in request.query


def is_read(request: web.Request) -> bool:
    return request.method == "GET" and not is_watch(request)


def is_list(request: web.Request) -> bool:
    return is_read(request) and not request.path.rstrip("/").endswith(("/v1", "/v2", "/apis", "/api", "v1alpha1"))


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail, and the requests that can fail so."""

    name: str
    applies: Callable[[web.Request], bool]
    act: Act


def status(code: int, reason: str, message: str) -> dict[str, object]:
    """How the API server says no."""
    kind = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {}}
    return {**kind, "code": code, "reason": reason, "message": message}


def refused(code: int, reason: str, retry_after_seconds: int | None = None) -> Act:
    """An answer without any effect."""

    async def act(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
        headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
        return web.json_response(status(code, reason, f"injected: {reason}"), status=code, headers=headers)

    return act


async def reset(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
    """The connection breaks before the request has arrived."""
    return cut(request)


async def lose_answer(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
    """What was asked for is done; nobody learns of it."""
    await proxy.pass_on(request, body)
    return cut(request)


async def break_off(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
    """The connection breaks in the middle of the answer."""
    answer = await proxy.pass_on(request, body)
    assert isinstance(answer, web.Response)
    content = bytes(answer.body) if isinstance(answer.body, bytes) else b""
    response = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(content) + 1)})
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    return cut(request, response)


async def answer_late(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
    """It takes a second or two."""
    answer = await proxy.pass_on(request, body)
    await asyncio.sleep(die.uniform(0.5, 2))
    return answer


async def answer_too_late(
    proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random
) -> web.StreamResponse:
    """What was asked for is done at once; the answer comes when nobody waits for it any more."""
    answer = await proxy.pass_on(request, body)
    await asyncio.sleep(TOO_LATE_SECONDS)
    return answer


async def answer_stale(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
    """A list as it was at its first asking."""
    first = proxy.first_lists.get(request.path_qs)
    return web.Response(body=first, content_type="application/json") if first else await proxy.pass_on(request, body)


def watch_ends(with_error: dict[str, object] | None = None) -> Act:
    """A watch that ends soon, with or without a last word."""

    async def act(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await asyncio.sleep(die.uniform(0, 0.5))
        if with_error:
            await response.write(json.dumps({"type": "ERROR", "object": with_error}).encode() + b"\n")
            return response
        return cut(request, response)

    return act


async def stall(proxy: FaultProxy, request: web.Request, body: bytes, die: random.Random) -> web.StreamResponse:
    """A watch that lives and says nothing."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await proxy.is_closing.wait()
    return response


def cut(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Break the connection."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response(status=503)


GONE = status(410, "Expired", "injected: too old resource version")
BROKEN = status(500, "InternalError", "injected: etcdserver: request timed out")
FAULTS = (
    Fault("conflict", is_write, refused(409, "Conflict")),
    Fault("list-gone", is_list, refused(410, "Expired")),
    Fault("watch-refused-as-gone", is_watch, refused(410, "Expired")),
    Fault("watch-gone", is_watch, watch_ends(GONE)),
    Fault("watch-broken", is_watch, watch_ends(BROKEN)),
    Fault("watch-dropped", is_watch, watch_ends()),
    Fault("watch-stalled", is_watch, stall),
    Fault("throttled", lambda request: True, refused(429, "TooManyRequests", retry_after_seconds=1)),
    Fault("internal-error", lambda request: True, refused(500, "InternalError")),
    Fault("unavailable", lambda request: True, refused(503, "ServiceUnavailable")),
    Fault("reset", lambda request: True, reset),
    Fault("answer-lost", is_write, lose_answer),
    Fault("answer-broken-off", lambda request: not is_watch(request), break_off),
    Fault("late", lambda request: not is_watch(request), answer_late),
    Fault("too-late", lambda request: not is_watch(request), answer_too_late),
    Fault("stale", is_list, answer_stale),
)


@dataclass(slots=True)
class Trouble:
    """Lets requests fail at random until the budget is spent."""

    faults: Sequence[Fault]
    die: random.Random
    share: float  # of the requests
    budget: int
    done: Counter[str] = field(default_factory=Counter)

    def fault_for(self, request: web.Request) -> Fault | None:
        """How this request is going to fail, if it is."""
        possible = [fault for fault in self.faults if fault.applies(request)]
        # Every list of a pass has to succeed: of reads fewer fail, or no pass would ever get anywhere.
        share = self.share / 4 if is_read(request) else self.share
        if not possible or self.done.total() >= self.budget:
            return None
        if self.done and self.die.random() > share:  # the first that can fail does: no run is without a fault
            return None
        fault = self.die.choice(possible)
        self.done[fault.name] += 1
        return fault
