"""All data pods of a stack die at once: whoever holds the newest data leads again, and nothing acknowledged is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.kit.kube import wait_until
from tests.cluster.test_failover import HANG_LIMIT_SECONDS

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

pytestmark = pytest.mark.long

GROUPS = ("postgres", "redis", "redis-sentinel", "rabbitmq")
FEED = b"sku,name,category,supplier,price,currency,quantity,warehouse\nWG-1,n,c,s,1.00,EUR,1,main\n"
KEYS = 200
# Each key is acknowledged by the master with at least one replica linked, and then waited for on both.
CLI = 'redis-cli -a "$REDIS_PASSWORD" --no-auth-warning'
SET = f"for i in $(seq {KEYS}); do echo SET whole-group:$i $1; done | {CLI}"
WAIT = f"{CLI} WAIT 2 5000"
COUNT = f"for i in $(seq {KEYS}); do echo GET whole-group:$i; done | {CLI} | grep -c $1"


def on_master(shop: Stack, kube: Kube, script: str, *words: str) -> str:
    master = shop.leader("redis", "master")
    return kube.run("exec", master, "-n", shop.namespace, "--", "sh", "-c", script, "sh", *words).strip()


def test_a_whole_group_that_dies_at_once_comes_back_with_the_newest_data(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    with shop.api() as api:
        assert api.wait_for_job(api.post_feed(FEED)["id"])["state"] == "succeeded"
    for value in ("old", "new"):
        on_master(shop, kube, SET, value)
    assert on_master(shop, kube, WAIT) == "2"
    pods = [pod["metadata"] for group in GROUPS for pod in shop.pods(group)]
    names = [pod["name"] for pod in pods]
    kube.run("delete", "pod", *names, "-n", shop.namespace, "--grace-period=0", "--force", "--wait=false")

    def are_new() -> bool:
        present = {pod["metadata"]["uid"] for group in GROUPS for pod in shop.pods(group)}
        return len(present) == len(pods) and present.isdisjoint(pod["uid"] for pod in pods)

    wait_until(are_new, "every pod was made anew", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")
    assert on_master(shop, kube, COUNT, "new") == str(KEYS)
    with shop.api() as api:
        assert api.http.get("/v1/products/WG-1").status_code == 200
        assert api.wait_for_job(api.post_feed(FEED)["id"])["state"] == "succeeded"
    assert len(shop.names_with_role("postgres", "primary")) == 1
