"""The loss of any one data pod: another takes over, the API goes on, and the stack is whole again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx

from tests.cluster.kit.kube import wait_until
from tests.cluster.kit.stack import is_ready

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Api, Stack

HANG_LIMIT_SECONDS = 300
SMALL_FEED = b"sku,name,category,supplier,price,currency,quantity,warehouse\nFO-1,n,c,s,1.00,EUR,1,main\n"


def kill(shop: Stack, kube: Kube, pod: str) -> None:
    """Delete a pod with no grace; returns when the pod that took its place is ready.

    Before that the old one may still serve: its kubelet gives it two seconds.
    """
    killed = kube.get("pod", pod, "-n", shop.namespace)["metadata"]["uid"]
    kube.run("delete", "pod", pod, "-n", shop.namespace, "--grace-period=0", "--force", "--wait=false")

    def is_replaced() -> bool:
        found = kube.items("pods", "-n", shop.namespace, "--field-selector", f"metadata.name={pod}")
        return any(each["metadata"]["uid"] != killed and is_ready(each) for each in found)

    wait_until(is_replaced, f"{pod} is replaced and ready", HANG_LIMIT_SECONDS)


def import_is_accepted(api: Api) -> bool:
    """Whether a write is acknowledged: an accepted import stands in PostgreSQL."""
    try:
        answer = api.http.post("/v1/imports", content=SMALL_FEED, headers={"Content-Type": "text/csv"}, timeout=5)
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.ACCEPTED


def wait_until_writes_go_on(shop: Stack, began: float) -> None:
    with shop.api() as api:
        wait_until(lambda: import_is_accepted(api), "a write is acknowledged", HANG_LIMIT_SECONDS)
    print(f"writes again {time.monotonic() - began:.1f} s after the pod was told to go")


def test_a_deleted_primary_hands_over_to_the_standby(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    before = shop.leader("postgres", "primary")
    began = time.monotonic()
    kube.run("delete", "pod", before, "-n", shop.namespace, "--wait=false")
    shop.wait_for_another("postgres", "primary", before)
    wait_until_writes_go_on(shop, began)
    wait_until(lambda: len(shop.names_with_role("postgres", "primary")) == 1, "it alone", HANG_LIMIT_SECONDS)

    def is_named() -> bool:
        return shop.object()["status"]["postgres"].get("primary") not in (None, before)

    wait_until(is_named, "the status names it", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")


def test_a_killed_primary_does_not_end_writes(shop: Stack, kube: Kube) -> None:
    """Whoever is sooner leads: the standby, or the killed member, whose pod is made again at once."""
    shop.wait_for("HighlyAvailable")
    before = shop.leader("postgres", "primary")
    began = time.monotonic()
    kill(shop, kube, before)
    wait_until_writes_go_on(shop, began)
    wait_until(lambda: len(shop.names_with_role("postgres", "primary")) == 1, "one primary", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")


def test_a_killed_redis_master_is_replaced(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    before = shop.leader("redis", "master")
    kill(shop, kube, before)
    shop.wait_for_another("redis", "master", before)
    shop.wait_for("HighlyAvailable")
    wait_until(lambda: len(shop.names_with_role("redis", "master")) == 1, "it alone", HANG_LIMIT_SECONDS)


def test_a_killed_rabbitmq_node_comes_back_into_the_same_cluster(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    kill(shop, kube, f"{shop.name}-rabbitmq-0")
    with shop.api() as api:
        job = api.post_feed(
            b"sku,name,category,supplier,price,currency,quantity,warehouse\nMQ-1,n,c,s,1.00,EUR,1,main\n"
        )
        assert api.wait_for_job(job["id"])["state"] == "succeeded"
    wait_until(lambda: shop.object()["status"]["rabbitmq"]["runningNodes"] == 3, "three nodes run", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")
