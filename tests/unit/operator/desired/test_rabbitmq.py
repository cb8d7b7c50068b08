"""What RabbitMQ of a stack looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appstack_operator.desired.rabbitmq import build_rabbitmq, disk_free_limit
from tests.unit.operator.factories import a_context, a_stack


def built(kind: str, name: str, **rabbitmq: Any) -> dict[str, Any]:
    return next(
        obj
        for obj in build_rabbitmq(a_stack(rabbitmq=rabbitmq), a_context())
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name)
    )


def container(**rabbitmq: Any) -> dict[str, Any]:
    found: dict[str, Any] = built("StatefulSet", "shop-rabbitmq", **rabbitmq)["spec"]["template"]["spec"]["containers"][
        0
    ]
    return found


def conf(**rabbitmq: Any) -> list[str]:
    text: str = built("ConfigMap", "shop-rabbitmq", **rabbitmq)["data"]["rabbitmq.conf"]
    return text.splitlines()


def test_a_minority_pauses_and_a_lost_node_is_noticed_soon() -> None:
    assert {"cluster_partition_handling = pause_minority", "net_ticktime = 7"} <= set(conf())
    assert "raft.adaptive_failure_detector.poll_interval = 1000" in conf()
    (arguments,) = [each["value"] for each in container()["env"] if each["name"].endswith("ADDITIONAL_ERL_ARGS")]
    assert arguments.endswith(" -kernel net_tickintensity 10")


def test_no_imported_definitions_write_over_the_operators_user() -> None:
    assert not any("definitions" in line for line in conf())


def test_a_drain_takes_one_node_at_a_time_and_is_never_blocked() -> None:
    for replicas in (1, 3):
        assert built("PodDisruptionBudget", "shop-rabbitmq", replicas=replicas)["spec"]["maxUnavailable"] == 1


def test_an_empty_node_never_gives_up_waiting_for_its_peers() -> None:
    assert "cluster_formation.discovery_retry_limit = 1000000" in conf()


def test_memory_is_the_container_s_and_not_the_machine_s() -> None:
    limits = {"limits": {"memory": "2Gi"}}
    assert f"total_memory_available_override_value = {2 * 2**30}" in conf(resources=limits)


@pytest.mark.parametrize(("volume", "kept_free"), [(5 * 2**30, 2**29), (100 * 2**30, 2**30)])
def test_publishers_are_held_back_before_the_disk_is_full(volume: int, kept_free: int) -> None:
    assert disk_free_limit(volume) == kept_free


@pytest.mark.parametrize(("replicas", "copies"), [(1, 1), (3, 3), (5, 3)])
def test_a_queue_regains_its_copies_after_a_repair(replicas: int, copies: int) -> None:
    name = "quorum_queue.continuous_membership_reconciliation.target_group_size"
    assert f"{name} = {copies}" in conf(replicas=replicas)


def test_a_node_that_a_queue_needs_waits_before_it_stops_for_a_time() -> None:
    command = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["rabbitmq-upgrade", "--timeout", "20", "await_online_quorum_plus_one"]
    grace = built("StatefulSet", "shop-rabbitmq")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > 20


def test_a_single_node_waits_for_nobody() -> None:
    assert "lifecycle" not in container(replicas=1)


def test_a_paused_or_waiting_node_is_not_killed() -> None:
    probe = container()["livenessProbe"]
    assert probe["exec"]["command"][-1].endswith("/alive.py")  # asks the Erlang machine, not a door that pausing shuts
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 90
    probe = container()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 1200


def test_a_frozen_node_gets_no_new_connections_and_a_slow_one_keeps_its_own() -> None:
    probe = container()["readinessProbe"]
    assert probe["httpGet"] == {"path": "/", "port": 15672}  # not a port alone: the kernel opens it for a frozen node
    assert probe["timeoutSeconds"] * probe["failureThreshold"] >= 4
    assert (probe["timeoutSeconds"] + probe["periodSeconds"]) * probe["failureThreshold"] <= 8


def test_nodes_have_names_that_outlive_their_pods() -> None:
    variables = {variable["name"]: variable.get("value") for variable in container()["env"]}
    assert variables["RABBITMQ_NODENAME"] == "rabbit@$(POD_NAME).shop-rabbitmq-pods.shop.svc.cluster.local"
    assert built("Service", "shop-rabbitmq-pods")["spec"]["publishNotReadyAddresses"] is True


def test_nobody_is_guest_and_no_password_stands_in_a_manifest() -> None:
    text = json.dumps(build_rabbitmq(a_stack(), a_context()))
    assert "guest" not in text
    assert "rabbitmq-password" not in text
    assert "cookie-password" not in text


def test_nodes_find_each_other_without_a_dns_server() -> None:
    services = [obj for obj in build_rabbitmq(a_stack(), a_context()) if obj["kind"] == "Service"]
    own = [obj["metadata"]["name"] for obj in services if obj["spec"].get("publishNotReadyAddresses")]
    assert own == ["shop-rabbitmq-pods", "shop-rabbitmq-0", "shop-rabbitmq-1", "shop-rabbitmq-2"]
    spec = built("StatefulSet", "shop-rabbitmq")["spec"]["template"]["spec"]
    (node_name,) = [each["value"] for each in container()["env"] if each["name"] == "RABBITMQ_NODENAME"]
    addresses = a_context().addresses
    assert {alias["hostnames"][0]: alias["ip"] for alias in spec["hostAliases"]} == {
        node_name.removeprefix("rabbit@").replace("$(POD_NAME)", pod): addresses[pod] for pod in own[1:]
    }
