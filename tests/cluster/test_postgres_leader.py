"""Who leads PostgreSQL: frozen, restarted for a parameter, handed over, scaled; what writers feel of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.kit.kube import wait_until
from tests.cluster.kit.writer import writing
from tests.cluster.test_failover import HANG_LIMIT_SECONDS, import_is_accepted

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

# Minutes: most of it waits for members that restart one after the other.
pytestmark = pytest.mark.long

PLANNED_HANG_SECONDS = 10.0  # five times the aim of two
SCALE_SECONDS = 600
SLOT_SECONDS = 450  # a member that is gone keeps its slot for five minutes
STARTED = "SELECT extract(epoch FROM pg_postmaster_start_time())"

NOTE = "appstack.dev/early-failover"


def annotations_of(shop: Stack, kube: Kube, suffix: str) -> dict[str, str]:
    found = kube.get("configmap", f"{shop.name}-postgres-{suffix}", "-n", shop.namespace)
    kept: dict[str, str] = found["metadata"].get("annotations", {})
    return kept


def new_note(found: dict[str, str], former: str) -> str:
    """The note of an early failover, where it is another one than before."""
    note = found.get(NOTE, "")
    return "" if note == former else note


def inside(shop: Stack, kube: Kube, pod: str, *command: str) -> str:
    return kube.run("exec", pod, "-n", shop.namespace, "--", *command).strip()


def signal_all(shop: Stack, kube: Kube, pod: str, name: str) -> None:
    """Everything in the pod but its first process (which the kernel protects) and the shell that does it."""
    inside(shop, kube, pod, "sh", "-c", f"kill -{name} -1")


def test_a_frozen_primary_is_replaced_before_its_lock_expires(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    before = shop.leader("postgres", "primary")
    former_note = annotations_of(shop, kube, "leader").get(NOTE, "")  # of an earlier failover
    standby = wait_until(lambda: annotations_of(shop, kube, "sync").get("sync_standby"), "a standby is recorded", 60)
    signal_all(shop, kube, before, "STOP")
    try:
        # The note is written with the release: without it the lock would only have expired.
        note = wait_until(
            lambda: new_note(annotations_of(shop, kube, "leader"), former_note), "the lock is released", 60
        )
        assert note.startswith(f"{standby} takes over from {before}"), note
        wait_until(lambda: annotations_of(shop, kube, "leader").get("leader") == standby, "the standby leads", 60)
        with shop.api() as api:
            wait_until(lambda: import_is_accepted(api), "a write is acknowledged", HANG_LIMIT_SECONDS)
        assert shop.names_with_role("postgres", "primary") == [standby]
    finally:
        signal_all(shop, kube, before, "CONT")
    shop.wait_for("HighlyAvailable")
    assert shop.names_with_role("postgres", "primary") == [standby]


def change_spec(shop: Stack, kube: Kube, **postgres: Any) -> None:
    patch = json.dumps({"spec": {"postgres": postgres}})
    kube.run("patch", "appstack", shop.name, "-n", shop.namespace, "--type=merge", "-p", patch)


def ask(shop: Stack, kube: Kube, pod: str, query: str) -> str:
    """One value from the server of a pod; empty while it does not answer."""
    try:
        return inside(shop, kube, pod, "psql", "-qAtX", "-h", "/run/postgresql", "-d", "postgres", "-c", query)
    except AssertionError:
        return ""


def test_a_parameter_that_needs_a_restart_reaches_every_member_the_primary_last(shop: Stack, kube: Kube) -> None:
    """The other way round for a lower value: a replica cannot start with less than its primary has."""
    shop.wait_for("HighlyAvailable")
    members = [pod["metadata"]["name"] for pod in shop.pods("postgres")]
    uids = {pod["metadata"]["uid"] for pod in shop.pods("postgres")}
    primary = shop.leader("postgres", "primary")
    (replica,) = (member for member in members if member != primary)

    def values() -> set[str]:
        return {ask(shop, kube, member, "SHOW max_connections") for member in members}

    for wanted, first, last in (("210", replica, primary), ("190", primary, replica)):
        change_spec(shop, kube, parameters={"max_connections": wanted})
        wait_until(lambda wanted=wanted: values() == {wanted}, f"max_connections is {wanted}", HANG_LIMIT_SECONDS)  # type: ignore[misc]
        started = {each: float(ask(shop, kube, each, STARTED)) for each in members}
        assert started[first] < started[last], started
    change_spec(shop, kube, parameters=None)
    wait_until(lambda: values() == {"200"}, "max_connections is what it was", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")
    assert {pod["metadata"]["uid"] for pod in shop.pods("postgres")} == uids, "members restarted, not their pods"


def test_a_planned_switchover_costs_writers_little_and_loses_nothing(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    before = shop.leader("postgres", "primary")
    with writing(shop, kube, "switchover") as report:
        time.sleep(3)
        kube.run("delete", "pod", before, "-n", shop.namespace, "--wait=false")
        shop.wait_for_another("postgres", "primary", before)
        time.sleep(3)
    assert report.acknowledged > 100
    assert report.lost == ()
    assert report.gap_s < PLANNED_HANG_SECONDS
    shop.wait_for("HighlyAvailable")


def test_members_come_and_go_and_leave_no_slot_behind(shop: Stack, kube: Kube) -> None:
    """1 -> 5 -> 2 members under load: whoever is gone holds no WAL, and whoever came can take over."""

    def slots() -> set[str]:
        primary = shop.leader("postgres", "primary")
        return set(ask(shop, kube, primary, "SELECT slot_name FROM pg_replication_slots").split())

    def is_so_many(count: int) -> bool:
        names = {pod["metadata"]["name"] for pod in shop.pods("postgres")}
        return names == {f"{shop.name}-postgres-{number}" for number in range(count)}

    shop.wait_for("HighlyAvailable")
    try:
        with writing(shop, kube, "members") as report:
            for count in (1, 5):
                change_spec(shop, kube, instances=count)
                wait_until(lambda count=count: is_so_many(count), f"{count} members", SCALE_SECONDS)  # type: ignore[misc]
                shop.wait_until_settled()
            primary = shop.leader("postgres", "primary")
            others = {f"{shop.name}_postgres_{n}" for n in range(5)} - {primary.replace("-", "_")}
            assert slots() == others, "every replica has a slot, and nobody else"
            change_spec(shop, kube, instances=2)
            wait_until(lambda: is_so_many(2), "two members", SCALE_SECONDS)
            shop.wait_for("HighlyAvailable")
            wait_until(lambda: len(slots()) == 1, "the slots of three members that are gone are dropped", SLOT_SECONDS)
        assert report.lost == ()
    finally:
        change_spec(shop, kube, instances=2)
    shop.wait_for("HighlyAvailable")


def test_clients_of_the_pooler_wait_through_a_switchover(shop: Stack, kube: Kube) -> None:
    """Nobody is refused: only what is under way as the server goes may fail, and nothing acknowledged is lost."""
    shop.wait_for("HighlyAvailable")
    try:
        change_spec(shop, kube, pooler={"enabled": True})
        wait_until(lambda: len(shop.pods("postgres-pooler")) == 2, "the pooler is made", HANG_LIMIT_SECONDS)
        shop.wait_until_settled()
        before = shop.leader("postgres", "primary")
        with writing(shop, kube, "pooler") as report:
            time.sleep(3)
            kube.run("delete", "pod", before, "-n", shop.namespace, "--wait=false")
            shop.wait_for_another("postgres", "primary", before)
            time.sleep(5)
        assert report.acknowledged > 100
        assert report.lost == ()
        # What is under way when the server goes is told so; whoever comes then waits, and is not refused.
        assert report.failed <= 2
        assert report.gap_s < PLANNED_HANG_SECONDS
    finally:
        change_spec(shop, kube, pooler=None)
    shop.wait_for("HighlyAvailable")
