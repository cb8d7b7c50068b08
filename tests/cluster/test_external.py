"""One stack bound to the services of another as External: it serves, scales, is renewed, and bears their failover."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.kit.kube import wait_until
from tests.cluster.kit.stack import Stack
from tests.cluster.test_failover import SMALL_FEED, import_is_accepted
from tests.cluster.test_import_end_to_end import stock_locked
from tests.feeds.debian import as_csv, package_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cluster.kit.kube import Kube, Object

HANG_LIMIT_SECONDS = 300
NAME = "bound"
ROWS = 20_000
FAILING = "import sys; print('adds a column'); sys.exit('no room for it')"


def secrets(shop: Stack) -> dict[str, dict[str, str]]:
    """What a person would write into the external Secrets of a stack that uses shop's services."""
    domain = f"{shop.namespace}.svc.cluster.local"
    rabbit = shop.secret(f"{shop.name}-rabbitmq-auth", "password")
    return {
        "their-postgres": {"DATABASE_URL": shop.secret(f"{shop.name}-postgres-app", "uri")},
        "their-redis": {
            "REDIS_SENTINELS": f"{shop.name}-redis-sentinel.{domain}:26379",
            "REDIS_SENTINEL_MASTER": f"{shop.namespace}.{shop.name}",
            "REDIS_PASSWORD": shop.secret(f"{shop.name}-redis-auth", "password"),
        },
        "their-rabbitmq": {
            "RABBITMQ_URL": f"amqp://app:{rabbit}@{shop.name}-rabbitmq.{domain}:5672/%2F",
            "RABBITMQ_MANAGEMENT_URL": f"http://{shop.name}-rabbitmq.{domain}:15672",
        },
    }


def external(name: str) -> dict[str, Any]:
    return {"mode": "External", "external": {"secretName": f"their-{name}"}}


def apply_secret(kube: Kube, namespace: str, name: str, data: dict[str, str]) -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
    kube.run("apply", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))


@pytest.fixture(scope="module")
def bound(shop: Stack, kube: Kube) -> Iterator[Stack]:
    """A stack that brings nothing but its backend."""
    for name, data in secrets(shop).items():
        apply_secret(kube, shop.namespace, name, data)
    autoscaling = {"minReplicas": 1, "maxReplicas": 2, "messagesPerReplica": 1, "scaleDownStabilizationSeconds": 10}
    pool = {"name": "bulk", "queues": ["bulk"], "autoscaling": autoscaling}
    spec = {
        "backend": {"api": {"replicas": 1}, "workers": [pool]},
        **{each: external(each) for each in ("postgres", "redis", "rabbitmq")},
    }
    manifest = {"apiVersion": "appstack.dev/v1alpha1", "kind": "AppStack", "metadata": {"name": NAME}, "spec": spec}
    kube.run("apply", "-n", shop.namespace, "-f", "-", stdin=json.dumps(manifest))
    stack = Stack(kube, shop.namespace, NAME)
    stack.wait_for("Ready")
    yield stack
    kube.run("delete", "appstack", NAME, "-n", shop.namespace, "--timeout=300s")
    for name in secrets(shop):
        kube.run("delete", "secret", name, "-n", shop.namespace)


def test_it_serves_and_reads_the_backlog_of_the_external_broker(bound: Stack) -> None:
    for kind in ("PostgresReady", "RedisReady", "RabbitMQReady", "WorkersReady"):
        bound.wait_for(kind)
    (pool,) = bound.object()["status"]["workers"]
    assert pool["name"] == "bulk"
    with bound.api() as api:
        api.post_feed(SMALL_FEED)


def test_its_workers_follow_the_backlog_and_no_row_is_lost_when_they_go(bound: Stack, shop: Stack, kube: Kube) -> None:
    def workers() -> int:
        replicas: int = kube.get("deployment", f"{NAME}-worker-bulk", "-n", bound.namespace)["spec"]["replicas"]
        return replicas

    wait_until(lambda: workers() == 1, "nothing is to be done", HANG_LIMIT_SECONDS)
    feed = package_index()[:ROWS]
    with bound.api() as api:
        with stock_locked(shop, kube):  # no chunk can be finished: all of them are the backlog
            job = api.post_feed(as_csv(feed))
            wait_until(lambda: workers() == 2, "a second worker is wanted", HANG_LIMIT_SECONDS)
        wait_until(lambda: workers() == 1, "it is calm, and one worker is enough", 2 * HANG_LIMIT_SECONDS)
        job = api.wait_for_job(job["id"])
    assert job["state"] == "succeeded"
    assert job["rows"] == {"received": len(feed), "imported": len(feed), "rejected": 0}


def renew(bound: Stack, kube: Kube, version: str, migrate: Sequence[str]) -> None:
    """Another version of the backend: for the operator a changed environment is one, as another image is."""
    backend = {"env": [{"name": "VERSION", "value": version}], "migrations": {"command": migrate}}
    patch = json.dumps({"spec": {"backend": backend}})
    kube.run("patch", "appstack", NAME, "-n", bound.namespace, "--type=merge", "-p", patch)


def version(pod: Object) -> str | None:
    (container,) = pod["spec"]["containers"]
    return next((each["value"] for each in container["env"] if each["name"] == "VERSION"), None)


def test_a_failed_migration_leaves_the_old_version_serving_and_the_next_one_is_a_fresh_try(
    bound: Stack, kube: Kube
) -> None:
    bound.wait_until_settled()
    components = ("api", "worker-bulk")

    def lasting() -> set[str]:
        return {pod["metadata"]["uid"] for component in components for pod in bound.lasting_pods(component)}

    def is_told_why() -> bool:
        return "no room for it" in bound.condition("MigrationsApplied")["message"]

    old = lasting()
    renew(bound, kube, "2", ["python", "-c", FAILING])
    bound.wait_for("MigrationsApplied", "False", "MigrationFailed", 2 * HANG_LIMIT_SECONDS)
    wait_until(is_told_why, "its last words are told", HANG_LIMIT_SECONDS)  # they may come after its end
    assert bound.condition("Stalled")["reason"] == "MigrationFailed"
    assert lasting() == old
    with bound.api() as api:
        api.post_feed(SMALL_FEED)

    renew(bound, kube, "3", [])
    bound.wait_for("MigrationsApplied")
    bound.wait_until_settled()
    jobs = kube.items("jobs", "-n", bound.namespace, "-l", f"appstack.dev/stack={NAME},appstack.dev/component=migrate")
    migrated = max(job["status"]["completionTime"] for job in jobs if job["status"].get("succeeded"))
    for component in components:
        pods = bound.lasting_pods(component)
        assert {version(pod) for pod in pods} == {"3"}
        begun = [datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) for pod in pods]
        assert min(begun) >= datetime.fromisoformat(migrated), "no pod is renewed before its migration has succeeded"


def test_it_recovers_when_the_external_postgresql_fails_over(bound: Stack, shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    before = shop.leader("postgres", "primary")
    began = time.monotonic()
    kube.run("delete", "pod", before, "-n", shop.namespace, "--wait=false")
    shop.wait_for_another("postgres", "primary", before)
    with bound.api() as api:
        wait_until(lambda: import_is_accepted(api), "the bound stack acknowledges a write", HANG_LIMIT_SECONDS)
    print(f"the bound stack writes again {time.monotonic() - began:.1f} s after the primary was told to go")
    bound.wait_for("Ready")
    bound.wait_for("PostgresReady")
    shop.wait_for("HighlyAvailable")


def test_a_wrong_password_is_said_and_not_passed_on(bound: Stack, shop: Stack, kube: Kube) -> None:
    right = secrets(shop)["their-postgres"]
    given = bound.secret(f"{NAME}-env", "DATABASE_URL")
    password = shop.secret(f"{shop.name}-postgres-app", "password")
    wrong = {"DATABASE_URL": right["DATABASE_URL"].replace(password, "opensesame")}
    apply_secret(kube, bound.namespace, "their-postgres", wrong)
    kube.run("annotate", "appstack", NAME, "-n", bound.namespace, "look=now", "--overwrite")
    found = bound.wait_for("PostgresReady", "False", "SecretInvalid", HANG_LIMIT_SECONDS)
    assert "their-postgres" in found["message"]
    assert "password authentication failed" in found["message"]
    assert "opensesame" not in found["message"]
    wait_until(
        lambda: bound.condition("Ready")["status"] == "True",
        "the pods still run with what they were given",
        HANG_LIMIT_SECONDS,
    )
    assert bound.secret(f"{NAME}-env", "DATABASE_URL") == given
    apply_secret(kube, bound.namespace, "their-postgres", right)
    bound.wait_for("PostgresReady", limit=HANG_LIMIT_SECONDS)
