"""Requests per second: cached and uncached reads, against bare routes, the bare query, and the peer.

Ours and the baselines take turns in short rounds, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx
import uvloop
from psycopg_pool import AsyncConnectionPool

from appstack_backend.repository.catalogue import BY_SKU
from appstack_backend.repository.pages import page_query
from bench.load import Target, load
from bench.measure import Figure, cpu_seconds
from tests.backend.kit.processes import wait_until
from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.site import Site

PRODUCTS, ROUNDS, SECONDS = 100_000, 5, 2.0
RATE = "requests/s"


def one(path: str) -> Callable[[int], str]:
    return lambda number: path


def anyone(number: int) -> str:
    """Any product: with a TTL of a second about one in a hundred is in the cache."""
    return f"/v1/products/SKU{random.randrange(1, PRODUCTS):06d}"


@contextmanager
def process(module: str, *args: str) -> Iterator[tuple[int, int]]:
    """A server of ours for comparison: its port and process id."""
    port = free_port()
    popen = subprocess.Popen([sys.executable, "-m", module, str(port), *args])

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/").status_code > 0
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, f"{module} answers")
        yield port, popen.pid
    finally:
        popen.kill()
        popen.wait()


Side = tuple[Target | Callable[[], float], int]  # what is asked, or what measures a rate itself; the process


class Duel:
    """Ours against one baseline, in turns."""

    def __init__(self, figure: Figure, ours: Side, baseline: Side) -> None:
        self.figure, self._sides = figure, (ours, baseline)
        self._cost = [0.0, 0.0]  # CPU seconds per request

    def round(self) -> None:
        for side, runs in enumerate((self.figure.runs, self.figure.baseline_runs)):
            target, pid = self._sides[side]
            if not isinstance(target, Target):
                runs.append(target())
                continue
            before = cpu_seconds(pid)
            began = time.monotonic()
            rate = load(target, SECONDS)
            requests = rate * (time.monotonic() - began)
            self._cost[side] += (cpu_seconds(pid) - before) / requests
            runs.append(rate)
        self.figure.cpu_ratio = round(self._cost[1] / self._cost[0], 3) if all(self._cost) else None


def fight(duels: list[Duel]) -> list[Figure]:
    for number in range(ROUNDS + 1):
        for duel in duels:
            duel.round()
            if number == 0:  # warm-up
                duel.figure.runs.clear()
                duel.figure.baseline_runs.clear()
    return [duel.figure for duel in duels]


def requests(site: Site) -> list[Figure]:
    """All duels on one database."""
    dsn = site.database(PRODUCTS)
    with site.backend(dsn, CACHE_TTL_SECONDS="1") as backend:
        api = backend.start_api()
        body = {"name": "bench", "scopes": ["read"]}
        token = backend.client().http.post("/v1/tokens", json=body).json()["token"]
        backend.client().http.put("/v1/products/HOT", json={"name": "Thing", "price": "1", "currency": "EUR"})
        with process("bench.bare", dsn, site.redis["REDIS_URL"]) as bare, process("bench.peer", dsn) as peer:

            def ours(path: Callable[[int], str]) -> tuple[Target, int]:
                return Target(backend.api_port, path, token), api.popen.pid

            def plain(path: str) -> tuple[Target, int]:
                return Target(bare[0], one(path)), bare[1]

            def peers(path: Callable[[int], str]) -> tuple[Target, int]:
                return Target(peer[0], path, token), peer[1]

            hot, listing = one("/v1/products/HOT"), one("/v1/products?limit=50")
            duels = [
                Duel(
                    Figure("cached GET", RATE, "bare Starlette with one Redis GET", aim=0.7),
                    ours(hot),
                    plain("/cached"),
                ),
                Duel(Figure("cached GET", RATE, "a route of constant bytes"), ours(hot), plain("/constant")),
                Duel(Figure("uncached GET", RATE, "bare Starlette with the query"), ours(anyone), plain("/query")),
                Duel(Figure("list of 50", RATE, "bare Starlette with the query"), ours(listing), plain("/listing")),
                Duel(Figure("cached GET", RATE, "the peer, which has no cache", aim=3.0), ours(hot), peers(hot)),
                Duel(Figure("uncached GET", RATE, "the peer", aim=3.0), ours(anyone), peers(anyone)),
                Duel(Figure("list of 50", RATE, "the peer", aim=3.0), ours(listing), peers(listing)),
            ]
            duels += [
                Duel(
                    Figure(name, RATE, f"the bare query through psycopg, without HTTP{how}", aim=aim), ours(path), bare
                )
                for name, path, work in (("uncached GET", anyone, by_sku()), ("list of 50", listing, pages()))
                for how, aim, bare in (
                    ("", 0.6, (partial(bare_rate, dsn, work, autocommit=False), 0)),
                    (", in autocommit mode", None, (partial(bare_rate, dsn, work, autocommit=True), 0)),
                )
            ]
            return fight(duels)


Work = list[tuple[str, dict[str, object]]]


def by_sku() -> Work:
    return [(BY_SKU, {"sku": f"SKU{random.randrange(1, PRODUCTS):06d}"}) for _ in range(50_000)]


def pages() -> Work:
    return [(page_query({}), {"limit": 50})] * 50_000


def bare_rate(dsn: str, work: Work, *, autocommit: bool) -> float:
    return uvloop.run(bare_queries(dsn, work, autocommit))


async def bare_queries(dsn: str, work: Work, autocommit: bool, connections: int = 10) -> float:
    """Queries per second through a pool, each in a transaction or not; nothing is done with the rows."""
    options = {"autocommit": autocommit}
    async with AsyncConnectionPool(dsn, kwargs=options, open=False, min_size=connections, max_size=connections) as pool:
        await pool.wait()
        left = iter(work)
        count, began = 0, time.monotonic()

        async def worker() -> None:
            nonlocal count
            for query, parameters in left:
                async with pool.connection() as conn:
                    await (await conn.execute(query.encode(), parameters)).fetchall()
                count += 1
                if time.monotonic() - began > SECONDS:
                    return

        await asyncio.gather(*(worker() for _ in range(connections)))
        return count / (time.monotonic() - began)
