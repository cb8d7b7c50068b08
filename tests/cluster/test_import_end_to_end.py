"""The main job on real input: Debian's package index goes in while a worker is killed, and comes out unchanged."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from subprocess import PIPE
from threading import Event
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.cluster.kit.kube import wait_until
from tests.feeds.debian import Row, as_csv, last_of_each, package_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.kit.kube import Kube, Object
    from tests.cluster.kit.stack import Api, Stack


HANG_LIMIT_SECONDS = 300
BLOCKED = """
    SELECT host(client_addr) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO stock%'"""


@pytest.fixture(scope="module")
def feed() -> list[Row]:
    """The index, then stock in a second warehouse, then new prices for some: the last line of a key wins."""
    index = package_index()
    north = [replace(row, warehouse="north", quantity=7) for row in index[:3000]]
    dearer = [replace(row, price="99999.99") for row in index[:2000]]
    return [*index, *north, *dearer]


@pytest.fixture(scope="module")
def api(shop: Stack) -> Iterator[Api]:
    with shop.api() as client:
        yield client


def test_a_real_feed_survives_a_killed_worker_row_by_row(shop: Stack, kube: Kube, api: Api, feed: list[Row]) -> None:
    body = gzip.compress(as_csv(feed), compresslevel=1)
    began, is_locked = time.monotonic(), Event()
    before = newest_job(api)
    with ThreadPoolExecutor(1) as sender:
        headers = {"Content-Encoding": "gzip", "Idempotency-Key": str(uuid4())}
        posted = sender.submit(api.post_feed, in_halves(body, is_locked), **headers)
        wait_until(
            lambda: has_begun(newest_job(api), before),
            "its first chunks are in",
            HANG_LIMIT_SECONDS,
            every_seconds=0.05,
        )
        with stock_locked(shop, kube):  # a worker in mid-chunk stays there
            is_locked.set()
            job = posted.result()
            wait_until(lambda: api.job(job["id"])["state"] == "running", "the job runs", HANG_LIMIT_SECONDS)
            victim = wait_until(
                lambda: worker_in_mid_chunk(shop, kube), "a worker stands in mid-chunk", HANG_LIMIT_SECONDS
            )
            kill_with_no_grace(shop, kube, victim)
            assert api.job(job["id"])["state"] == "running"
    job = api.wait_for_job(job["id"])
    seconds = time.monotonic() - began
    print(f"{len(feed)} rows in {seconds:.1f} s ({len(feed) / seconds:.0f} rows/s), {victim} killed: {job}")
    assert job["state"] == "succeeded"
    assert job["rows"] == {"received": len(feed), "imported": len(feed), "rejected": 0}
    assert job["chunks"]["redelivered"] >= 1  # the victim's chunk was not acknowledged
    assert differences(exported(api), feed) == []
    assert wrong_on_pages(api, feed) == []
    shop.wait_for("Ready")


def test_the_same_key_and_body_give_the_same_job_and_another_body_is_refused(api: Api, feed: list[Row]) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = api.post_feed(as_csv(feed[:10]), **key)
    again = api.http.post("/v1/imports", content=as_csv(feed[:10]), headers={"Content-Type": "text/csv", **key})
    other = api.http.post("/v1/imports", content=as_csv(feed[:11]), headers={"Content-Type": "text/csv", **key})
    assert again.json()["id"] == first["id"]
    assert other.status_code == 422
    assert other.headers["Content-Type"] == "application/problem+json"


def wrong_on_pages(api: Api, feed: list[Row]) -> list[str]:
    """The products that clients who turn the pages do not see, or see otherwise."""
    expected = {row.sku: (row.name, row.price) for row in feed}
    seen = {product["sku"]: (product["name"], product["price"]) for product in api.products()}
    return [sku for sku, shown in expected.items() if seen.get(sku) != shown]


def in_halves(body: bytes, may_go_on: Event) -> Iterator[bytes]:
    """A body whose second half waits: its job cannot end before."""
    middle = len(body) // 2
    yield body[:middle]
    assert may_go_on.wait(timeout=2 * HANG_LIMIT_SECONDS)
    yield body[middle:]


def newest_job(api: Api) -> Object | None:
    return next(iter(api.http.get("/v1/jobs", params={"limit": 1}).json()["items"]), None)


def has_begun(job: Object | None, before: Object | None) -> bool:
    """Whether there is a new job, and some of it is done: older jobs are those of other tests."""
    return job is not None and (before is None or job["id"] != before["id"]) and job["chunks"]["done"] >= 3


@contextmanager
def stock_locked(shop: Stack, kube: Kube) -> Iterator[None]:
    """While this holds, a worker that applies a chunk stands between its products and its stock."""
    primary = shop.leader("postgres", "primary")
    psql = ("psql", "-qAtX", "-U", "postgres", "-h", "/run/postgresql", "app")
    command = [kube.kubectl_path, "exec", "-i", "-n", shop.namespace, primary, "--", *psql]
    with subprocess.Popen(command, env=kube.env, stdin=PIPE, stdout=PIPE, text=True) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        print("BEGIN; LOCK TABLE stock IN EXCLUSIVE MODE; SELECT 'locked';", file=session.stdin, flush=True)
        assert session.stdout.readline() == "locked\n"
        yield
        session.stdin.close()  # psql ends, and with it the transaction


def kill_with_no_grace(shop: Stack, kube: Kube, pod: str) -> None:
    """Delete a pod with no grace; returns when its container runs no more.

    A kubelet gives two seconds even then: a worker that is not held back would finish its chunk.
    """
    node = kube.get("pod", pod, "-n", shop.namespace)["spec"]["nodeName"]
    kube.run("delete", "pod", pod, "-n", shop.namespace, "--grace-period=0", "--force", "--wait=false")

    def is_gone() -> bool:
        pods = json.loads(kube.run("get", "--raw", f"/api/v1/nodes/{node}/proxy/runningpods/"))["items"] or []
        return pod not in [each["metadata"]["name"] for each in pods]

    wait_until(is_gone, f"{pod} is ended on {node}", HANG_LIMIT_SECONDS)


def worker_in_mid_chunk(shop: Stack, kube: Kube) -> str | None:
    """A worker pod whose transaction waits for the locked stock, by PostgreSQL's own account; else None."""
    primary = shop.leader("postgres", "primary")
    psql = ("psql", "-qAtX", "-U", "postgres", "-h", "/run/postgresql", "app", "-c", BLOCKED)
    addresses = kube.run("exec", "-n", shop.namespace, primary, "--", *psql).split()
    pods = {pod["status"].get("podIP"): pod["metadata"]["name"] for pod in shop.pods("worker-bulk")}
    return next((pods[address] for address in addresses if address in pods), None)


def exported(api: Api) -> list[Object]:
    """The whole catalogue, through an export job."""
    answer = api.http.post("/v1/exports", json={"format": "csv", "filter": {}})
    assert answer.status_code == 202, answer.text
    location = answer.headers["Location"]
    wait_until(
        lambda: api.http.get(location).json()["state"] == "succeeded", "the export succeeded", HANG_LIMIT_SECONDS
    )
    content = api.http.get(f"{location}/content")
    assert content.is_success, content.text
    return list(csv.DictReader(io.StringIO(content.text, newline="")))


def differences(rows: list[Object], feed: list[Row]) -> list[str]:
    """Every way in which the exported rows differ from the feed, each as a line for a person (at most 20)."""
    exported_rows = {(row["sku"], row["warehouse"]): row for row in rows}
    newest = {row.sku: row for row in feed}  # name, price and so on belong to the product, stock to the warehouse
    found: list[str] = []
    for key, stock in last_of_each(feed).items():
        product = newest[stock.sku]
        wanted = {
            "sku": stock.sku,
            "name": product.name,
            "category": product.category,
            "supplier": product.supplier,
            "price": product.price,
            "currency": product.currency,
            "quantity": str(stock.quantity),
            "warehouse": stock.warehouse,
        }
        got = exported_rows.get(key)
        if got != wanted:
            found.append(f"{key}: wanted {wanted}, got {got}")
    if len(rows) != len(exported_rows):
        found.append(f"{len(rows) - len(exported_rows)} rows twice")
    return found[:20]
