"""The least that could answer: a Starlette application on the same server with one Redis GET, one query, or nothing.

Run as `python -m bench.bare PORT DSN REDIS_URL`.
"""

import random
import sys

import redis.asyncio as redis
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appstack_backend.http.context import encode
from appstack_backend.repository.catalogue import BY_SKU
from appstack_backend.repository.pages import page_query


async def serve(port: int, dsn: str, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    # As ours has it: a statement alone is one round trip, and no connection is made in between.
    pool = AsyncConnectionPool(dsn, min_size=10, max_size=10, open=False, kwargs={"autocommit": True})
    await pool.open()
    value = b'{"sku":"SKU000001","name":"Thing number 1","category":"category 1","supplier":"supplier 1"}' + b" " * 110
    await client.set("bench:value", value)
    page = page_query({}).encode()

    async def constant(request: Request) -> Response:
        return Response(value, media_type="application/json")

    async def cached(request: Request) -> Response:
        return Response(await client.get("bench:value"), media_type="application/json")

    async def query(request: Request) -> Response:
        sku = f"SKU{random.randrange(1, 100_000):06d}"
        async with pool.connection() as conn:
            row = await (await conn.execute(BY_SKU, {"sku": sku})).fetchone()
        return Response(encode(row), media_type="application/json")

    async def listing(request: Request) -> Response:
        async with pool.connection() as conn:
            rows = await (await conn.execute(page, {"limit": 50})).fetchall()
        return Response(encode(rows), media_type="application/json")

    routes = [Route(f"/{handler.__name__}", handler) for handler in (constant, cached, query, listing)]
    app = Starlette(routes=routes)
    server = Server(
        app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, websockets=False, log_enabled=False
    )
    await server.serve()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
