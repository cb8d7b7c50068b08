"""Who leads PostgreSQL: a frozen primary is replaced before its lock expires, a changed parameter restarts it last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.kit.kube import wait_until
from tests.cluster.test_failover import HANG_LIMIT_SECONDS, import_is_accepted, names_with_role

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

# Not run on a cluster yet: first with `make test-cluster PYTEST_ARGS="-m long -k postgres_leader"`, then by default.
pytestmark = pytest.mark.long

NOTE = "appstack.dev/early-failover"


def annotations(shop: Stack, kube: Kube, suffix: str) -> dict[str, str]:
    found = kube.get("configmap", f"{shop.name}-postgres-{suffix}", "-n", shop.namespace)
    kept: dict[str, str] = found["metadata"].get("annotations", {})
    return kept


def inside(shop: Stack, kube: Kube, pod: str, *command: str) -> str:
    return kube.run("exec", pod, "-n", shop.namespace, "--", *command).strip()


def signal_all(shop: Stack, kube: Kube, pod: str, name: str) -> None:
    """Everything in the pod but its first process (which the kernel protects) and the shell that does it."""
    inside(shop, kube, pod, "sh", "-c", f"kill -{name} -1")


def test_a_frozen_primary_is_replaced_before_its_lock_expires(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    (before,) = names_with_role(shop, "postgres", "primary")
    standby = wait_until(lambda: annotations(shop, kube, "sync").get("sync_standby"), "a standby is recorded", 60)
    signal_all(shop, kube, before, "STOP")
    try:
        # The note is written with the release: without it the lock would only have expired.
        note = wait_until(lambda: annotations(shop, kube, "leader").get(NOTE, ""), "the lock is released", 60)
        assert note.startswith(f"{standby} takes over from {before}"), note
        wait_until(lambda: annotations(shop, kube, "leader").get("leader") == standby, "the standby leads", 60)
        with shop.api() as api:
            wait_until(lambda: import_is_accepted(api), "a write is acknowledged", HANG_LIMIT_SECONDS)
        assert names_with_role(shop, "postgres", "primary") == [standby]
    finally:
        signal_all(shop, kube, before, "CONT")
    shop.wait_for("HighlyAvailable")
    assert names_with_role(shop, "postgres", "primary") == [standby]


def test_a_parameter_that_needs_a_restart_reaches_every_member(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    members = [pod["metadata"]["name"] for pod in shop.pods("postgres")]
    uids = {pod["metadata"]["uid"] for pod in shop.pods("postgres")}

    def values() -> set[str]:
        sql = ["psql", "-qAtX", "-h", "/run/postgresql", "-d", "postgres", "-c", "SHOW max_connections"]
        return {inside(shop, kube, member, *sql) for member in members}

    for wanted in ("210", "190"):  # up: replicas first; down: the primary first
        change = f'{{"spec": {{"postgres": {{"parameters": {{"max_connections": "{wanted}"}}}}}}}}'
        kube.run("patch", "appstack", shop.name, "-n", shop.namespace, "--type=merge", "-p", change)

        def is_everywhere(wanted: str = wanted) -> bool:
            try:
                return values() == {wanted}
            except AssertionError:  # a member is being restarted
                return False

        wait_until(is_everywhere, f"max_connections is {wanted} on every member", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")
    assert {pod["metadata"]["uid"] for pod in shop.pods("postgres")} == uids, "members restarted, not their pods"
