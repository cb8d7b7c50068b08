"""What PostgreSQL of a stack looks like."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from appstack_operator.api.postgres import OWNED_PARAMETERS
from appstack_operator.desired.parameter_limits import Room, does_not_fit
from appstack_operator.desired.postgres import (
    build_dynamic_configuration,
    build_patroni_configuration,
    build_postgres,
    memory_limit,
    settings,
    wal_settings,
)
from appstack_operator.desired.quantities import bytes_of
from appstack_operator.objects import ROLE_LABEL, STACK_LABEL
from tests.unit.operator.factories import a_context, a_stack

AGENT = Path(__file__).parents[4] / "images" / "postgres" / "agent"


def built(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return next(
        obj
        for obj in build_postgres(a_stack(**spec), a_context())
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name)
    )


def dynamic(**postgres: Any) -> dict[str, Any]:
    annotations = build_dynamic_configuration(a_stack(postgres=postgres))["metadata"]["annotations"]
    configuration: dict[str, Any] = json.loads(annotations["config"])
    return configuration


@pytest.mark.parametrize(
    ("mode", "synchronous", "strict"),
    [("Off", False, False), ("Preferred", True, False), ("Required", True, True)],
)
def test_synchronous_replication_is_what_the_spec_says(mode: str, synchronous: bool, strict: bool) -> None:
    configuration = dynamic(synchronousReplication=mode)
    assert (configuration["synchronous_mode"], configuration["synchronous_mode_strict"]) == (synchronous, strict)


def test_three_instances_commit_by_quorum() -> None:
    assert dynamic(instances=3)["synchronous_mode"] == "quorum"
    assert dynamic(instances=3, synchronousReplication="Off")["synchronous_mode"] is False


@pytest.mark.parametrize(
    ("postgres", "loop_seconds"),
    [
        ({}, 1),
        ({"earlyFailover": False}, 3),
        ({"synchronousReplication": "Off"}, 3),  # nobody is recorded to hold every commit
        ({"instances": 3}, 3),
    ],
)
def test_the_lock_is_renewed_every_second_only_where_that_serves_an_early_failover(
    postgres: dict[str, Any], loop_seconds: int
) -> None:
    configuration = dynamic(**postgres)
    assert configuration["loop_wait"] == loop_seconds
    assert configuration["ttl"] >= configuration["loop_wait"] + 2 * configuration["retry_timeout"]


@pytest.mark.parametrize(("early", "seconds"), [(True, "3"), (False, "0")])
def test_the_agent_for_early_failovers_runs_where_the_spec_asks_for_it(early: bool, seconds: str) -> None:
    members = built("StatefulSet", "shop-postgres", postgres={"earlyFailover": early})
    environment = members["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "EARLY_FAILOVER_SECONDS", "value": seconds} in environment


def test_a_primary_hands_over_before_a_planned_stop() -> None:
    pod = built("StatefulSet", "shop-postgres")["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["/usr/local/lib/appstack/hand_over.py"]
    assert pod["terminationGracePeriodSeconds"] >= 60


def test_a_patroni_that_starts_slowly_is_not_killed_for_it() -> None:
    probe = built("StatefulSet", "shop-postgres")["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300


def test_the_slot_of_a_removed_member_soon_holds_no_wal() -> None:
    assert 0 < dynamic()["member_slots_ttl"] <= 600


def test_more_instances_restart_no_member() -> None:
    two, three = (built("StatefulSet", "shop-postgres", postgres={"instances": n})["spec"]["template"] for n in (2, 3))
    assert two == three


def test_an_outage_of_the_api_server_alone_demotes_nobody() -> None:
    assert dynamic()["failsafe_mode"] is True


def test_a_primary_that_does_not_come_up_is_soon_replaced() -> None:
    # Patroni's default, 300 s, is a trap.
    assert dynamic()["primary_start_timeout"] <= 20


def test_a_demoted_primary_that_does_not_stop_is_killed() -> None:
    # Patroni's default, 0, waits for ever for sessions that wait for a standby that is cut off.
    assert 0 < dynamic()["primary_stop_timeout"] <= 20


def test_the_lock_outlives_the_loops_that_renew_it() -> None:
    configuration = dynamic()
    assert configuration["ttl"] >= configuration["loop_wait"] + 2 * configuration["retry_timeout"]


@pytest.mark.parametrize("size", ["1Gi", "10Gi", "500Gi"])
def test_kept_wal_never_fills_the_volume(size: str) -> None:
    volume_megabytes = {"1Gi": 1024, "10Gi": 10_240, "500Gi": 512_000}[size]
    kept = wal_settings(volume_megabytes * 2**20)
    most = sum(int(kept[name].removesuffix("MB")) for name in ("max_wal_size", "max_slot_wal_keep_size"))
    assert most <= volume_megabytes // 2
    assert kept["wal_keep_size"] == kept["max_wal_size"], (
        "a rewound member may need all since its last checkpoint began"
    )


@pytest.mark.parametrize("size", ["256Mi", "1Gi", "10Gi", "500Gi"])
def test_no_setting_of_the_operator_s_is_one_that_it_would_refuse(size: str) -> None:
    stack = a_stack(postgres={"storage": {"size": size}})
    room = Room(memory_limit(stack), bytes_of(size))
    assert [name for name, value in settings(stack, {}).items() if does_not_fit(name, value, room)] == []


def test_the_user_s_settings_win_over_the_operator_s() -> None:
    assert settings(a_stack(), {"max_connections": "50"})["max_connections"] == "50"


def test_shared_buffers_follow_the_memory_limit() -> None:
    limits = {"limits": {"memory": "4Gi"}}
    assert settings(a_stack(postgres={"resources": limits}), {})["shared_buffers"] == "1024MB"


def test_no_user_may_set_what_keeps_the_copies_together() -> None:
    assert {"synchronous_standby_names", "wal_log_hints", "fsync"} <= set(OWNED_PARAMETERS)


def test_no_user_may_have_a_silent_or_absent_replica_hold_up_the_primary_for_ever() -> None:
    limits = {"max_slot_wal_keep_size", "wal_sender_timeout", "wal_receiver_timeout"}
    assert limits <= set(OWNED_PARAMETERS)
    assert limits <= set(settings(a_stack(), {}))


def test_a_failed_rewind_falls_back_to_a_new_copy() -> None:
    postgresql = yaml.safe_load(build_patroni_configuration(a_stack()))["postgresql"]
    assert postgresql["remove_data_directory_on_rewind_failure"] is True
    assert postgresql["remove_data_directory_on_diverged_timelines"] is True
    assert dynamic()["postgresql"]["use_pg_rewind"] is True
    assert postgresql["bin_name"]["pg_rewind"].endswith("/rewind.py"), "leaves a note while it works"


def test_every_script_that_patroni_calls_is_in_the_image() -> None:
    text = build_patroni_configuration(a_stack())
    scripts = re.findall(r"/usr/local/lib/appstack/(\S+)", text)
    assert "stop_at_switchover.py" in scripts, "a switchover would take a second longer"
    assert [each for each in scripts if not (AGENT / each).is_file()] == []


def test_connections_over_the_network_need_a_scram_password() -> None:
    rules = yaml.safe_load(build_patroni_configuration(a_stack()))["postgresql"]["pg_hba"]
    assert all(rule.endswith("scram-sha-256") for rule in rules if rule.startswith("host"))


def test_patroni_keeps_its_lock_in_configmaps() -> None:
    # Endpoints as the store are deprecated since Kubernetes 1.33.
    assert yaml.safe_load(build_patroni_configuration(a_stack()))["kubernetes"]["use_endpoints"] is False


def test_patroni_s_own_objects_wake_no_pass() -> None:
    # Patroni gives its ConfigMaps the label that finds its pods: that must not be the one that we watch.
    kubernetes = yaml.safe_load(build_patroni_configuration(a_stack()))["kubernetes"]
    labels = {*kubernetes["labels"], kubernetes["scope_label"]}
    assert STACK_LABEL not in labels
    pod_labels = built("StatefulSet", "shop-postgres")["spec"]["template"]["metadata"]["labels"]
    assert pod_labels[kubernetes["scope_label"]] == "shop-postgres"
    assert built("ConfigMap", "shop-postgres-config")["metadata"]["labels"][kubernetes["scope_label"]]


@pytest.mark.parametrize(("instances", "role"), [(1, "primary"), (2, "replica"), (3, "replica")])
def test_readers_go_to_replicas_and_to_the_primary_where_it_is_alone(instances: int, role: str) -> None:
    service = built("Service", "shop-postgres-ro", postgres={"instances": instances})
    assert service["spec"]["selector"][ROLE_LABEL] == role


def test_writers_go_to_the_primary() -> None:
    assert built("Service", "shop-postgres-rw")["spec"]["selector"][ROLE_LABEL] == "primary"
    assert built("Service", "shop-postgres-rw")["spec"]["publishNotReadyAddresses"]  # the label alone decides
    assert "publishNotReadyAddresses" not in built("Service", "shop-postgres-ro")["spec"]


def test_patroni_may_touch_only_its_own_pods() -> None:
    rules = built("Role", "shop-postgres", postgres={"instances": 3})["rules"]
    patched = [rule["resourceNames"] for rule in rules if rule["resources"] == ["pods"] and "patch" in rule["verbs"]]
    assert patched == [["shop-postgres-0", "shop-postgres-1", "shop-postgres-2"]]
    assert not any(rule["resources"] == ["configmaps"] and "delete" in rule["verbs"] for rule in rules)


def test_no_password_stands_in_a_manifest() -> None:
    text = json.dumps([obj for obj in build_postgres(a_stack(), a_context()) if obj["kind"] != "Secret"])
    assert "-password" not in text.replace("postgres_", "")


def test_a_change_that_patroni_takes_while_it_runs_restarts_nobody() -> None:
    before = built("StatefulSet", "shop-postgres")
    after = built("StatefulSet", "shop-postgres", postgres={"parameters": {"work_mem": "8MB"}})
    assert before["spec"]["template"] == after["spec"]["template"]


def test_a_drain_is_never_blocked_for_good() -> None:
    budget = built("PodDisruptionBudget", "shop-postgres", postgres={"instances": 1})
    assert budget["spec"]["maxUnavailable"] == 1
