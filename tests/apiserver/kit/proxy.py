"""A reverse proxy before the API server that counts writing requests and ends the operator after a chosen one."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

WRITING = {"POST", "PUT", "PATCH", "DELETE"}
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
        if request.method not in WRITING:
            self.reads += 1
            is_watch = "watch" in request.query
            is_by_stack = "=" in request.query.get("labelSelector", "")  # kopf lists by the label's presence
            self.passes += request.path.endswith("/pods") and is_by_stack and not is_watch
            return await self._pass_on(request, b"")
        body = await request.read()
        async with self._turn:
            if self.struck.is_set():  # sent before the kill, not yet passed on: as if the wire had been cut
                raise web.HTTPServiceUnavailable
            return await self._pass_on(request, body)

    async def _pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = self._upstream + request.raw_path
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            if request.method in WRITING:
                content = await answer.read()
                self._count(request, answer.status)
                return web.Response(status=answer.status, body=content, headers=kept(answer.headers))
            response = web.StreamResponse(status=answer.status, headers=kept(answer.headers))
            await response.prepare(request)
            with suppress(ConnectionResetError):  # the operator is gone: nobody listens to this watch
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

    def _count(self, request: web.Request, status: int) -> None:
        if status >= BAD_REQUEST:  # refused, or the object was gone already: nothing was written
            return
        self.writes.append(f"{request.method} {request.path}")
        self.last_write_at = time.monotonic()
        if len(self.writes) == self._strike_at:
            self._strike()
            self.struck.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FaultProxy]:
        """Listen on a free port while the block runs."""
        connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=16 * 2**20)
            app.router.add_route("*", "/{path:.*}", self.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            try:
                yield self
            finally:
                await runner.cleanup()


def kept(headers: aiohttp.typedefs.LooseHeaders) -> dict[str, str]:
    """The headers of an answer that the proxy may repeat."""
    return {name: value for name, value in dict(headers).items() if name.lower() not in HOP_BY_HOP}
