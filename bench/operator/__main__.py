"""`python -m bench.operator SIZE…`: measure; write build/bench/operator.json and docs/bench-operator.md."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from appstack_operator.kinds import STACK
from appstack_operator.left_to_do import phase_of
from bench.measure import FOLDER, cpu_seconds
from bench.operator.respond import watch
from bench.operator.site import Site, client_of, operator, site

if TYPE_CHECKING:
    import subprocess

PAGE = Path(__file__).parents[2] / "docs" / "bench-operator.md"
NAME = "shop"
REST_SECONDS = 120
CALM_SECONDS = 10
RESYNC_SECONDS = 600  # the operator's default
PATIENCE_SECONDS = 1800
OTHERS = 50
SERVERS = ("kube-apiserver", "etcd")
SPEC: dict[str, Any] = {
    "postgres": {"instances": 1},
    "redis": {"replicas": 1, "sentinels": 1},
    "rabbitmq": {"replicas": 1},
    "backend": {
        "image": "shop:1",
        "api": {"replicas": 1},
        "workers": [{"name": "bulk", "queues": ["bulk"], "autoscaling": {"minReplicas": 1, "maxReplicas": 3}}],
    },
}


async def create_stacks(client: httpx.AsyncClient, number: int) -> None:
    """So many stacks in as many namespaces, as fast as the API server takes them."""
    gate = asyncio.Semaphore(10)

    async def create(index: int) -> None:
        namespace = f"team-{index}"
        stack = {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": NAME}, "spec": SPEC}
        async with gate:
            await client.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
            (await client.post(STACK.path(namespace), json=stack)).raise_for_status()

    await asyncio.gather(*(create(index) for index in range(number)))


async def until_ready(client: httpx.AsyncClient, number: int, begun: float) -> None:
    """Wait until every stack is Ready and nothing is under way.

    By a watch: to ask for all stacks again and again would cost more than what is measured.
    """
    try:
        async with asyncio.timeout(begun + PATIENCE_SECONDS - time.monotonic()):
            await watch_until_ready(client, number, begun)
    except TimeoutError:
        raise TimeoutError("the stacks do not become ready") from None


async def watch_until_ready(client: httpx.AsyncClient, number: int, begun: float) -> None:
    """As long as that takes."""
    ready: set[str] = set()
    async for event in watch(client, f"/apis/{STACK.api_version}/appstacks"):
        namespace = event["object"]["metadata"]["namespace"]
        (ready.add if is_settled(event["object"]) else ready.discard)(namespace)
        sys.stderr.write(f"\r{time.monotonic() - begun:5.0f} s: {len(ready)} of {number} ready ")
        if len(ready) == number:
            sys.stderr.write("\n")
            return


def is_settled(stack: dict[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in stack.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True" and "Reconciling" not in conditions


async def metrics(port: int) -> dict[str, float]:
    """Requests by verb, passes, and stacks with a pass, of the operator so far."""
    async with httpx.AsyncClient() as client:
        return figures_in((await client.get(f"http://127.0.0.1:{port}/metrics", timeout=30)).text)


def figures_in(text: str) -> dict[str, float]:
    """What the operator's metrics say. The conditions of a stack are published at the end of its pass."""
    found: dict[str, float] = {"requests": 0, "writes": 0, "passes": 0}
    stacks = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "appstack_api_requests_total":
                is_write = sample.labels["verb"] in ("create", "apply", "patch", "delete")
                found["requests"] += sample.value
                found["writes"] += sample.value * is_write
            elif sample.name == "appstack_passes_total":
                found["passes"] += sample.value
                found[f"passes {sample.labels['result']}"] = sample.value
            elif sample.name == "appstack_condition":
                stacks.add((sample.labels["namespace"], sample.labels["stack"]))
    return found | {"stacks": len(stacks)}


def children_named(*names: str) -> list[int]:
    """The processes that this one has started, by their programs' names."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    return [pid for pid in pids if name_and_parent(pid) in [(name, os.getpid()) for name in names]]


def name_and_parent(pid: int) -> tuple[str, int] | None:
    """Of a process; None if it has ended meanwhile."""
    try:
        head, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return head.partition("(")[2], int(fields.split()[1])


def memory_mebibytes(pid: int, field: str) -> float:
    """VmRSS or VmHWM of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


async def until_calm(port: int, number: int) -> None:
    """Wait until no more passes come than at rest: what led to the last ones is told of for some seconds after them."""
    most = 3 + 2 * number * CALM_SECONDS / RESYNC_SECONDS
    begun, passes = time.monotonic(), (await metrics(port))["passes"]
    while time.monotonic() - begun < PATIENCE_SECONDS:
        await asyncio.sleep(CALM_SECONDS)
        former, passes = passes, (await metrics(port))["passes"]
        if passes - former <= most:
            return
    raise TimeoutError("the operator does not come to rest")


async def rest(client: httpx.AsyncClient, process: subprocess.Popen[bytes], port: int, number: int) -> dict[str, float]:
    """What a while without any change costs."""
    stacks = (await client.get(f"/apis/{STACK.api_version}/appstacks")).json()["items"]
    before, cpu, begun = await metrics(port), cpu_seconds(process.pid), time.time()
    await asyncio.sleep(REST_SECONDS)
    after, ended = await metrics(port), time.time()
    due = sum(passes_due(stack["metadata"]["uid"], begun, ended) for stack in stacks)
    seconds = ended - begun
    return {
        "cpu_percent": 100 * (cpu_seconds(process.pid) - cpu) / seconds,
        "passes_in_ten_minutes": 1 + (after["passes"] - before["passes"] - due) / number * RESYNC_SECONDS / seconds,
        "writes": after["writes"] - before["writes"],
    }


def passes_due(uid: str, begun: float, ended: float) -> int:
    """How often a stack's own moment comes within a time; one that was just before it may be under way in it."""
    moment = phase_of(uid) * RESYNC_SECONDS
    return math.floor((ended - moment) / RESYNC_SECONDS) - math.floor((begun - 1 - moment) / RESYNC_SECONDS)


class Latencies:
    """Seconds from a change of a stack's number of API pods to that of its Deployment."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.waiting: dict[str, tuple[int, asyncio.Future[float]]] = {}

    async def listen(self) -> None:
        async for event in watch(self.client, "/apis/apps/v1/deployments"):
            meta, replicas = event["object"]["metadata"], event["object"]["spec"]["replicas"]
            wanted, future = self.waiting.get(meta["namespace"], (None, None))
            if meta["name"] == f"{NAME}-api" and replicas == wanted and future and not future.done():
                future.set_result(time.monotonic())

    async def change(self, index: int, replicas: int) -> float:
        namespace, future = f"team-{index}", asyncio.get_running_loop().create_future()
        self.waiting[namespace] = (replicas, future)
        begun = time.monotonic()
        patch = {"spec": {"backend": {"api": {"replicas": replicas}}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        (await self.client.patch(STACK.path(namespace, NAME), json=patch, headers=headers)).raise_for_status()
        seen_at: float = await asyncio.wait_for(future, 120)
        return seen_at - begun


async def measure_latencies(client: httpx.AsyncClient, number: int) -> dict[str, list[float]]:
    latencies = Latencies(client)
    listening = asyncio.create_task(latencies.listen())
    await asyncio.sleep(1)
    idle = []
    for index in range(min(number, 20)):
        idle.append(await latencies.change(index, 2))
        await asyncio.sleep(1)
    busy: list[float] = []
    for replicas in (3, 1):
        others = [latencies.change(index, replicas) for index in range(min(number, OTHERS + 1))]
        busy += await asyncio.gather(*others)
        await asyncio.sleep(10)
    listening.cancel()
    return {"idle": idle, "busy": busy}


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def measure(where: Site, number: int) -> dict[str, Any]:
    """All figures of one size."""
    async with client_of(str(where.cluster.folder)) as client:
        with operator(where, poll_seconds=5) as process:
            await asyncio.sleep(3)
            begun, before = time.monotonic(), sum(cpu_seconds(pid) for pid in children_named(*SERVERS))
            await create_stacks(client, number)
            await until_ready(client, number, begun)
            seconds, made = time.monotonic() - begun, await metrics(9000)
            figures: dict[str, Any] = {
                "converge_seconds": seconds,
                "requests_per_stack": made["requests"] / number,
                "writes_per_stack": made["writes"] / number,
                "passes_per_stack": made["passes"] / number,
                "failed_passes": made.get("passes failed", 0),
                "cpu_seconds_to_converge": cpu_seconds(process.pid),
                "servers_cpu_seconds_to_converge": sum(cpu_seconds(pid) for pid in children_named(*SERVERS)) - before,
            }
            await until_calm(9000, number)
            figures["rest_with_polling"] = await rest(client, process, 9000, number)
            latencies = await measure_latencies(client, number)
            for kind, values in latencies.items():
                figures[f"first_write_{kind}_p50"] = statistics.median(values)
                figures[f"first_write_{kind}_p99"] = percentile(values, 0.99)
            figures["memory_peak_mib"] = memory_mebibytes(process.pid, "VmHWM")
            await until_ready(client, number, time.monotonic())
            await asyncio.sleep(5)
        with operator(where, poll_seconds=86400, port=9001) as process:
            begun = time.monotonic()
            figures["restart_seconds"] = await until_looked_at(number, begun)
            await until_calm(9001, number)
            done = await metrics(9001)
            figures["writes_after_restart"] = done["writes"]
            figures["passes_after_restart"] = done["passes"] / number
            figures["rest_without_polling"] = await rest(client, process, 9001, number)
            figures["memory_after_restart_mib"] = memory_mebibytes(process.pid, "VmRSS")
        return figures


async def until_looked_at(number: int, begun: float) -> float:
    """The seconds until each stack has had a pass; some have several meanwhile."""
    while (seconds := time.monotonic() - begun) < PATIENCE_SECONDS:
        if (await first_metrics(9001))["stacks"] >= number:
            return seconds
        await asyncio.sleep(0.5)
    raise TimeoutError("a restarted operator does not look at all stacks")


async def first_metrics(port: int) -> dict[str, float]:
    """The metrics of an operator that may still be starting."""
    try:
        return await metrics(port)
    except httpx.TransportError:
        return {"stacks": 0}


ROWS = (
    ("time to converge", "s", "converge_seconds", None),
    ("API requests per stack, to converge", "", "requests_per_stack", None),
    ("of these, writes", "", "writes_per_stack", None),
    ("passes per stack, to converge", "", "passes_per_stack", None),
    ("passes that failed on the way", "", "failed_passes", None),
    ("CPU to converge", "s", "cpu_seconds_to_converge", None),
    ("CPU of the API server and etcd, to converge", "s", "servers_cpu_seconds_to_converge", None),
    ("peak memory", "MiB", "memory_peak_mib", 400),
    ("first write, idle, median", "s", "first_write_idle_p50", None),
    ("first write, idle, 99th percentile", "s", "first_write_idle_p99", 1),
    ("first write, 50 others change too, median", "s", "first_write_busy_p50", None),
    ("first write, 50 others change too, 99th percentile", "s", "first_write_busy_p99", 1),
    ("at rest with polling: CPU", "% of a core", "rest_with_polling.cpu_percent", 10),
    ("at rest with polling: passes of a stack in ten minutes", "", "rest_with_polling.passes_in_ten_minutes", 1),
    ("at rest with polling: writes in 120 s", "", "rest_with_polling.writes", 0),
    ("at rest without polling: CPU", "% of a core", "rest_without_polling.cpu_percent", None),
    ("at rest without polling: passes of a stack in ten minutes", "", "rest_without_polling.passes_in_ten_minutes", 1),
    ("after a restart: until every stack had its pass", "s", "restart_seconds", None),
    ("after a restart: passes of a stack until all is calm", "", "passes_after_restart", None),
    ("after a restart: writes", "", "writes_after_restart", 0),
    ("after a restart: memory", "MiB", "memory_after_restart_mib", 400),
)


# What may grow with the number of stacks, and no faster.
GROWTH = (
    ("time to converge", "converge_seconds"),
    ("CPU to converge", "cpu_seconds_to_converge"),
    ("CPU at rest with polling", "rest_with_polling.cpu_percent"),
)


def is_missed(value: float, aim: float | None) -> bool:
    """Whether a figure is worse than it was to be."""
    return aim is not None and value > aim


def cell(value: float, aim: float | None) -> str:
    """A figure of the page; nobody has to compare it with its aim."""
    return f"{value:,.3g}{' **missed**' if is_missed(value, aim) else ''}"


def growths(sizes: dict[int, dict[str, Any]], path: str) -> list[float]:
    """How many times a figure grew from size to size, divided by how many times the number of stacks did."""
    pairs = itertools.pairwise(sorted(sizes))
    return [value_of(sizes[b], path) / value_of(sizes[a], path) / (b / a) for a, b in pairs]


def value_of(figures: dict[str, Any], path: str) -> float:
    """The figure at a dotted path."""
    value: Any = figures
    for part in path.split("."):
        value = value[part]
    return float(value)


def document(sizes: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The JSON: every figure of a size, its baseline the smallest size, scaled to the number of stacks."""
    smallest = min(sizes)
    figures = []
    for size, measured in sorted(sizes.items()):
        for name, unit, path, aim in ROWS:
            value, baseline = value_of(measured, path), value_of(sizes[smallest], path)
            ratio = round(value / baseline, 3) if baseline else None
            figure = {"name": f"{size} stacks: {name}", "unit": unit, "value": round(value, 3), "aim": aim}
            figure["missed"] = is_missed(value, aim)
            figures.append({**figure, "baseline": round(baseline, 3), "ratio": ratio, "runs": [round(value, 3)]})
    return {
        "name": "operator",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "load": [round(load, 1) for load in os.getloadavg()],
        "baseline": f"the same with {smallest} stacks",
        "figures": figures,
    }


def table(sizes: dict[int, dict[str, Any]], written: dict[str, Any]) -> str:
    """docs/bench-operator.md."""
    head = " | ".join(f"{size} stacks" for size in sorted(sizes))
    lines = [
        "# The operator at scale",
        "",
        "Written by `make bench-operator`. Real etcd, kube-apiserver and kube-controller-manager; a kwok node runs the",
        "pods, and a scripted responder answers for Patroni, Sentinel, Redis and RabbitMQ. Each stack has a namespace",
        "of its own, one instance of each managed service, an API pod and a worker pool that scales on its backlog;",
        "services are asked every 15 s, for the lengths of queues in which something waits every 5 s.",
        "Everything shares one machine. n is 1.",
        f"At rest is {REST_SECONDS} s, once no more passes come than are due. Every stack has one in ten minutes, at a",
        "moment of its own; those due in that time count as that one, all others as more.",
        f'"{OTHERS} others" are all others where there are fewer.',
        "",
        f"{written['measured_at'][:16]}, {written['machine']}, load {written['load'][0]} at the end.",
        "",
        f"| what | unit | aim | {head} |",
        "| --- | --- | --- |" + " --- |" * len(sizes),
    ]
    for name, unit, path, aim in ROWS:
        values = " | ".join(cell(value_of(sizes[size], path), aim) for size in sorted(sizes))
        lines.append(f"| {name} | {unit} | {'' if aim is None else aim} | {values} |")
    for name, path in GROWTH:
        values = " | ".join(["", *(cell(each, 1) for each in growths(sizes, path))])
        lines.append(f"| {name}: growth, by that of the stacks |  | 1 |{values} |")
    return "\n".join(lines) + "\n"


def main(sizes: list[int]) -> None:
    measured: dict[int, dict[str, Any]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-operator-") as folder, site(Path(folder) / "site") as where:
            measured[size] = asyncio.run(measure(where, size))
        FOLDER.mkdir(parents=True, exist_ok=True)
        written = document(measured)
        (FOLDER / "operator.json").write_text(json.dumps(written, indent=1) + "\n")
        PAGE.write_text(table(measured, written))


if __name__ == "__main__":
    if not all(size.isdecimal() and int(size) for size in sys.argv[1:]):
        sys.exit('SIZES are numbers of stacks, for example: make bench-operator SIZES="20 100"')
    main([int(size) for size in sys.argv[1:]] or [20, 100, 300])
