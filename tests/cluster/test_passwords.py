"""Passwords edited in their Secrets while everything runs: they are in force soon, and nobody is locked out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.kit.kube import wait_until
from tests.cluster.kit.writer import writing
from tests.cluster.test_failover import HANG_LIMIT_SECONDS, kill

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

pytestmark = pytest.mark.long

FEED = b"sku,name,category,supplier,price,currency,quantity,warehouse\nPW-%d,n,c,s,1.00,EUR,1,main\n"


def edit(shop: Stack, kube: Kube, secret: str, password: str) -> None:
    patch = json.dumps({"stringData": {"password": password}})
    kube.run("patch", "secret", f"{shop.name}-{secret}", "-n", shop.namespace, "--type=merge", "-p", patch)


def opens_postgres(shop: Stack, kube: Kube, user: str, password: str) -> bool:
    """Whether the role gets in over the network with that password."""
    url = f"postgresql://{user}:{password}@{shop.name}-postgres-rw/postgres"
    member = shop.pods("postgres")[0]["metadata"]["name"]
    try:
        return kube.run("exec", member, "-n", shop.namespace, "--", "psql", "-qAtX", url, "-c", "SELECT 1") == "1\n"
    except AssertionError:
        return False


def opens_rabbitmq(shop: Stack, kube: Kube, password: str) -> bool:
    node = shop.pods("rabbitmq")[0]["metadata"]["name"]
    words = ("rabbitmqctl", "authenticate_user", "app", password)
    try:
        kube.run("exec", node, "-n", shop.namespace, "--", *words)
    except AssertionError:
        return False
    return True


def test_edited_passwords_are_in_force_and_nobody_is_locked_out(shop: Stack, kube: Kube) -> None:
    """Writers and the broker's clients go on: connections outlive the password that opened them, and the backend's pods
    are replaced one by one; a message that one of them cannot publish meanwhile waits in the outbox."""
    shop.wait_for("HighlyAvailable")
    former = {name: shop.secret(f"{shop.name}-{name}", "password") for name in ("postgres-superuser", "rabbitmq-auth")}
    with writing(shop, kube, "passwords") as report:
        edit(shop, kube, "postgres-superuser", "anothersuperuser1")
        wait_until(
            lambda: opens_postgres(shop, kube, "postgres", "anothersuperuser1"),
            "the superuser has it",
            HANG_LIMIT_SECONDS,
        )
    assert (report.failed, report.lost) == (0, ())
    assert not opens_postgres(shop, kube, "postgres", former["postgres-superuser"])
    with shop.api() as api:
        jobs = [api.post_feed(FEED % 1)["id"]]
        edit(shop, kube, "rabbitmq-auth", "anotherbroker1")
        wait_until(lambda: opens_rabbitmq(shop, kube, "anotherbroker1"), "the broker knows it", HANG_LIMIT_SECONDS)
        assert not opens_rabbitmq(shop, kube, former["rabbitmq-auth"])
        jobs.append(api.post_feed(FEED % 2)["id"])
        assert [api.wait_for_job(job)["state"] for job in jobs] == ["succeeded", "succeeded"]
    shop.wait_until_settled()
    assert shop.secret(f"{shop.name}-rabbitmq-auth", "uri").startswith("amqp://app:anotherbroker1@")
    # A failover and a new node with nothing but the new passwords.
    before = shop.leader("postgres", "primary")
    kill(shop, kube, before)
    kill(shop, kube, f"{shop.name}-rabbitmq-1")
    shop.wait_for("HighlyAvailable")
    with shop.api() as api:
        assert api.wait_for_job(api.post_feed(FEED % 3)["id"])["state"] == "succeeded"
