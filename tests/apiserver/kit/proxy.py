"""A reverse proxy before the API server: counts, ends the operator after a chosen write, lets requests fail."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from tests.apiserver.kit.faults import is_list, is_watch, is_write

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from tests.apiserver.kit.faults import Trouble

BAD_REQUEST = 400
# Belong to one connection, or are the server's business on each side.
HOP_BY_HOP = {"connection", "host", "transfer-encoding", "content-length", "keep-alive"}


class FaultProxy:
    """Passes everything on; writes go one at a time, so that after a kill not one more gets through."""

    def __init__(self, upstream: str, context: ssl.SSLContext) -> None:
        self.url = ""
        self.writes: list[str] = []  # METHOD path of each write that the API server did, since the last clear
        self.reads = 0
        self.passes = 0  # begun passes: each reads the pods by label, once
        self.last_write_at = 0.0
        self.struck = asyncio.Event()
        self.trouble: Trouble | None = None
        self.first_lists: dict[str, bytes] = {}  # by path and query: what a stale answer looks like
        self.is_closing = asyncio.Event()
        self._watches: list[web.Request] = []
        self._upstream = upstream
        self._context = context
        self._turn = asyncio.Lock()
        self._strike_at: int | None = None
        self._strike: Callable[[], None] = lambda: None

    def clear(self) -> None:
        """Begin to count anew; nothing is going to be struck."""
        self.writes, self.reads, self.passes, self._strike_at = [], 0, 0, None
        self.struck.clear()

    def strike_after(self, writes: int, strike: Callable[[], None]) -> None:
        """Call `strike` once the API server has done that many writes, before the operator learns of it."""
        self.clear()
        self._strike_at, self._strike = writes, strike

    async def handle(self, request: web.Request) -> web.StreamResponse:
        is_by_stack = "=" in request.query.get("labelSelector", "")  # kopf lists by the label's presence
        self.passes += request.path.endswith("/pods") and is_by_stack and not is_watch(request)
        self.reads += not is_write(request)
        body = await request.read()
        fault = self.trouble.fault_for(request) if self.trouble else None
        if fault:
            assert self.trouble
            return await fault.act(self, request, body, self.trouble.die)
        return await self.pass_on(request, body)

    async def pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """What would have happened without a fault; a watch is answered piece by piece, all else as a whole."""
        if is_watch(request):
            return await self._stream(request)
        if not is_write(request):
            return await self._ask(request, body)
        async with self._turn:
            if self.struck.is_set():  # sent before the kill, not yet passed on: as if the wire had been cut
                raise web.HTTPServiceUnavailable
            return await self._ask(request, body)

    async def _ask(self, request: web.Request, body: bytes) -> web.Response:
        url, headers = self._upstream + request.raw_path, kept(request.headers)
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            content = await answer.read()
            if is_write(request):
                self._count(request, answer.status)
            elif is_list(request) and answer.status < BAD_REQUEST:
                self.first_lists.setdefault(request.path_qs, content)
            return web.Response(status=answer.status, body=content, headers=kept(answer.headers))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        url = self._upstream + request.raw_path
        async with self._session.get(url, headers=kept(request.headers)) as answer:
            response = web.StreamResponse(status=answer.status, headers=kept(answer.headers))
            await response.prepare(request)
            self._watches.append(request)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            except ConnectionResetError:
                pass  # the operator is gone: nobody listens to this watch
            finally:
                self._watches.remove(request)
            return response

    def cut_watches(self) -> None:
        """Break the connection of each watch: it has to begin anew, and can fail in doing so."""
        for request in self._watches:
            if request.transport is not None:
                request.transport.abort()

    def _count(self, request: web.Request, status: int) -> None:
        if status >= BAD_REQUEST:  # refused, or the object was gone already: nothing was written
            return
        self.writes.append(f"{request.method} {request.path}")
        self.last_write_at = time.monotonic()
        if len(self.writes) == self._strike_at:
            self._strike()
            self.struck.set()

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultProxy]:
        """Listen on a free port while the block runs; with a certificate for those who want one."""
        connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            skip_auto_headers=["Content-Type"],  # who names no type, as Patroni, has none named for it
        )
        async with self._session:
            app = web.Application(client_max_size=16 * 2**20)
            app.router.add_route("*", "/{path:.*}", self.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, host, 0, ssl_context=tls).start()
            self.url = f"{'https' if tls else 'http'}://{host}:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                self.is_closing.set()
                await runner.cleanup()


def kept(headers: aiohttp.typedefs.LooseHeaders) -> dict[str, str]:
    """The headers that the proxy may repeat."""
    return {name: value for name, value in dict(headers).items() if name.lower() not in HOP_BY_HOP}
