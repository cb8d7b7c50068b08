"""Settings of PostgreSQL that it refuses reach no member; those that need a restart: test_postgres_leader.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cluster.kit.kube import wait_until

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

HANG_LIMIT_SECONDS = 300
REFUSED = {"work_mem": "banana", "log_timezone": "Nowhere", "shared_preload_libraries": "nothere"}


def change(shop: Stack, kube: Kube, parameters: dict[str, str | None]) -> None:
    patch = json.dumps({"spec": {"postgres": {"parameters": parameters}}})
    kube.run("patch", "appstack", shop.name, "-n", shop.namespace, "--type=merge", "-p", patch)


def ask(shop: Stack, kube: Kube, sql: str) -> dict[str, str]:
    """Each member's answer. Raises KubectlFailed where one has none, as one that is being restarted."""
    psql = ["psql", "-qAtX", "-h", "/run/postgresql", "-d", "postgres", "-c", sql]
    names = [pod["metadata"]["name"] for pod in shop.pods("postgres")]
    return {name: kube.run("exec", name, "-n", shop.namespace, "--", *psql).strip() for name in names}


def answers(shop: Stack, kube: Kube, sql: str) -> dict[str, str]:
    """Each member's answer, once all have one."""
    return wait_until(lambda: ask(shop, kube, sql), f"every member answers {sql}", HANG_LIMIT_SECONDS)


def started(shop: Stack, kube: Kube) -> dict[str, str]:
    return answers(shop, kube, "SELECT extract(epoch FROM pg_postmaster_start_time())")


def wait_until_set(shop: Stack, kube: Kube, name: str, value: str) -> None:
    def is_set() -> bool:
        return set(ask(shop, kube, f"SHOW {name}").values()) == {value}

    wait_until(is_set, f"{name} is {value} on every member", HANG_LIMIT_SECONDS)


def test_refused_settings_touch_nobody_and_are_named(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    before, usual = started(shop, kube), answers(shop, kube, "SHOW work_mem")
    try:
        change(shop, kube, {**REFUSED, "log_lock_waits": "on"})
        found = shop.wait_for("PostgresReady", "False", "ParameterRefused", HANG_LIMIT_SECONDS)
        for name, value in REFUSED.items():
            assert f'spec.postgres.parameters.{name} = "{value}" is refused' in found["message"]
        assert 'could not access file "nothere"' in found["message"], "only a start shows that"
        assert shop.condition("Stalled")["reason"] == "ParameterRefused"
        wait_until(lambda: shop.condition("Ready")["status"] == "True", "users are served", HANG_LIMIT_SECONDS)
        wait_until_set(shop, kube, "log_lock_waits", "on")
        assert answers(shop, kube, "SHOW work_mem") == usual
        wrong = answers(shop, kube, "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL")
        assert set(wrong.values()) == {"0"}
        assert started(shop, kube) == before, "no server was restarted"
    finally:
        change(shop, kube, dict.fromkeys([*REFUSED, "log_lock_waits"]))
    shop.wait_until_settled()
    assert not shop.condition("Stalled")
    assert started(shop, kube) == before
