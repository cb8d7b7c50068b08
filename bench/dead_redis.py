"""What a dead Redis adds to a request: one that refuses, and one that swallows packets, against none at all."""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.measure import Figure
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    import httpx

    from bench.site import Site

ROUNDS, REQUESTS = 7, 150
WITHOUT = {"REDIS_SENTINELS": "", "REDIS_SENTINEL_MASTER": "", "REDIS_TIMEOUT_SECONDS": "0.1"}


def dead_redis(site: Site) -> list[Figure]:
    """Milliseconds of a GET of a product with one request at a time, once the breaker is open; and of the first one."""
    dsn = site.database(1_000)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as swallowing, ExitStack() as stack:
        urls = {
            "none": "",
            "a Redis that refuses": "redis://127.0.0.1:9/0",
            "a Redis that swallows packets": f"redis://127.0.0.1:{swallowing.getsockname()[1]}/0",
        }
        clients: dict[str, httpx.Client] = {}
        figures: dict[str, Figure] = {}
        for name, url in urls.items():
            backend = stack.enter_context(site.backend(dsn))
            api = backend.start_api(**WITHOUT, REDIS_URL=url)
            clients[name] = backend.client().http
            if url:
                first = timed(clients[name])
                wait_until(lambda: api.metrics()["appstack_redis_breaker_open"] == 1, "the breaker is open")  # noqa: B023
                figures[name] = Figure(f"GET with {name}", "ms", "no Redis at all")
                figures[f"{name}, at first"] = Figure(f"first GET with {name}", "ms", "no Redis at all", runs=[first])
        for number in range(ROUNDS + 1):
            medians = {name: median(client) for name, client in clients.items()}
            for name, figure in figures.items():
                if number:
                    figure.baseline_runs.append(medians["none"])
                    if name in medians:
                        figure.runs.append(medians[name])
    return list(figures.values())


def timed(client: httpx.Client) -> float:
    began = time.perf_counter()
    assert client.get("/v1/products/SKU000001").is_success
    return (time.perf_counter() - began) * 1_000


def median(client: httpx.Client) -> float:
    return statistics.median(timed(client) for _ in range(REQUESTS))
