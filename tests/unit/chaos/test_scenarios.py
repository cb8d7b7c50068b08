"""The rows of the scorecard are those that the issue asks for, each held to the issue's aims."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.scenarios import CORE, SCENARIOS

ROOT = Path(__file__).resolve().parents[3]


def test_no_two_rows_look_alike_on_the_scorecard() -> None:
    looks = [(each.fault, each.role, each.operator) for each in SCENARIOS.values() if not each.is_control]
    assert sorted(look for look in looks if looks.count(look) > 1) == []


@pytest.mark.parametrize(
    "role",
    [
        *(
            "postgres-primary",
            "postgres-replica",
            "redis-master",
            "redis-replica",
            "rabbitmq-leader",
            "rabbitmq-follower",
        ),
        *("sentinel", "api-pod", "worker", "pooler"),
    ],
)
def test_each_role_of_each_service_is_deleted_killed_and_frozen(role: str) -> None:
    faults = {name.removeprefix(f"{role}-") for name in SCENARIOS if name.startswith(f"{role}-")}
    assert {"deleted", "no-grace", "sigkill", "frozen"} <= faults
    # Only what something looks after, or asks from beside it, can be stopped without it.
    assert ("frozen-server" in faults) is role.startswith(("postgres", "redis", "rabbitmq", "sentinel"))


@pytest.mark.parametrize("suffix", ["", "-no-operator", "-with-operator"])
@pytest.mark.parametrize(
    "name",
    [
        *("node-cut", "node-cut-in", "node-cut-out", "node-cut-two"),
        *("node-cut-replica", "node-cut-replica-in", "node-cut-replica-out"),
        *("node-crashed", "node-crashed-two", "node-drained"),
    ],
)
def test_what_befalls_a_node_is_run_for_each_place_of_the_operator_and_held_to_the_same_aims(
    name: str, suffix: str
) -> None:
    row = SCENARIOS[name + suffix]
    assert row.operator == {"": "alive", "-no-operator": "absent", "-with-operator": "on the lost node"}[suffix]
    assert row.aims == SCENARIOS[name].aims
    # The early failover is the agents': it needs no operator, so nothing grants it 25 s.
    assert row.aim("postgres") <= 8


def test_only_where_two_standbys_are_recorded_the_lock_of_a_lost_primary_may_expire() -> None:
    late = {name for name, each in SCENARIOS.items() if each.aim("postgres") > 8}
    assert late == {"node-cut-three"}
    assert SCENARIOS["node-cut-three"].aim("postgres") == 25
    assert SCENARIOS["node-cut-three"].spec == {"postgres": {"instances": 3}}


@pytest.mark.parametrize(
    "name", ["rabbitmq-leader-deleted", "rabbitmq-leader-sigkill", "node-drained", "upgrade-rabbitmq"]
)
def test_a_pod_of_rabbitmq_that_goes_costs_publishers_a_second(name: str) -> None:
    assert SCENARIOS[name].aim("rabbitmq") == 1


def test_the_core_has_clients_inside_a_node_that_is_cut_off_for_all_three_services() -> None:
    assert {service for name in CORE for service in SCENARIOS[name].isolated} == {"postgres", "redis", "rabbitmq"}
    assert all(SCENARIOS[name].together for name in SCENARIOS if "redis" in SCENARIOS[name].isolated)


def test_where_redis_master_is_when_a_node_goes_is_no_matter_of_luck() -> None:
    nodes = {name: each for name, each in SCENARIOS.items() if each.role.startswith("node of")}
    assert len(nodes) > 25
    assert all(each.together is not each.apart for name, each in nodes.items() if name != "disk-full")
    assert all(each.together is ("Redis" in each.role) for each in nodes.values())


def test_a_row_of_a_lost_node_with_a_living_operator_is_none_with_the_leader_on_it() -> None:
    spared = {name for name, each in SCENARIOS.items() if each.spares_operator}
    assert spared >= {"node-cut", "node-cut-two", "node-cut-replica", "node-crashed", "node-drained", "tenfold"}
    assert all("node" in SCENARIOS[name].fault and SCENARIOS[name].operator == "alive" for name in spared)
    assert not any("-operator" in name for name in spared)


def test_every_image_is_upgraded_under_load() -> None:
    upgraded = {name.removeprefix("upgrade-") for name in SCENARIOS if name.startswith("upgrade-")}
    assert upgraded == {path.parent.name for path in ROOT.glob("*/Dockerfile")} | {
        path.parent.name for path in ROOT.glob("images/*/Dockerfile")
    }
    assert all(SCENARIOS[f"upgrade-{name}"].is_planned for name in upgraded), "nothing may be lost"


def test_clients_come_through_the_pooler_where_it_or_the_primary_behind_it_is_struck() -> None:
    pooled = {name for name, each in SCENARIOS.items() if each.is_pooled}
    poolers = {f"pooler-{fault}" for fault in ("deleted", "no-grace", "sigkill", "frozen")}
    assert pooled == poolers | {"pooled-primary-deleted", "pooled-primary-frozen"}


def test_watchers_have_a_minute_after_an_outage_of_the_api_server() -> None:
    """A kube-proxy that did not follow yet failed requests of the next row, an upgrade."""
    assert SCENARIOS["api-server-down"].rest_seconds == 60
