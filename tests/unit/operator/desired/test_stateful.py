"""What all data services have in common."""

from __future__ import annotations

from typing import Any

import pytest

from appstack_operator.desired.quantities import bytes_of
from appstack_operator.desired.stack import build_data_services
from tests.unit.operator.factories import a_context, a_stack


def sets(**spec: Any) -> list[dict[str, Any]]:
    return [obj for obj in build_data_services(a_stack(**spec), a_context()) if obj["kind"] == "StatefulSet"]


def test_there_are_four_and_the_operator_orders_their_restarts() -> None:
    names = [each["metadata"]["name"] for each in sets()]
    assert sorted(names) == ["shop-postgres", "shop-rabbitmq", "shop-redis", "shop-redis-sentinel"]
    assert {each["spec"]["updateStrategy"]["type"] for each in sets()} == {"OnDelete"}


def test_no_pod_waits_for_the_one_before_it() -> None:
    # In a restart of the whole group the last to go must be among the first to come.
    assert {each["spec"]["podManagementPolicy"] for each in sets()} == {"Parallel"}


def test_a_selector_is_part_of_the_pods_labels() -> None:
    for each in sets():
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_every_container_is_limited_and_may_write_only_to_its_volumes() -> None:
    for each in sets():
        for container in each["spec"]["template"]["spec"]["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(("policy", "then"), [("Retain", "Retain"), ("Delete", "Delete")])
def test_volumes_outlive_the_stack_where_the_spec_says_so(policy: str, then: str) -> None:
    policies = [
        each["spec"]["persistentVolumeClaimRetentionPolicy"]
        for each in sets(deletionPolicy=policy)
        if "volumeClaimTemplates" in each["spec"]
    ]
    assert policies == [{"whenDeleted": then, "whenScaled": "Retain"}] * 3


def test_an_external_service_is_not_made() -> None:
    external = {"mode": "External", "external": {"secretName": "elsewhere"}}
    names = [each["metadata"]["name"] for each in sets(redis=external)]
    assert sorted(names) == ["shop-postgres", "shop-rabbitmq"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("quantity", ["1e999999999", "1e30", "99999999999999999Ei"])
def test_no_quantity_is_larger_than_kubernetes_can_hold(quantity: str) -> None:
    """Written out, the first one would keep the operator busy, and every stack waiting, until its memory is full."""
    assert bytes_of(quantity) == 2**63 - 1


@pytest.mark.parametrize(
    ("quantity", "size_bytes"),
    [("1Ki", 1024), ("10Gi", 10 * 2**30), ("1.5Gi", 3 * 2**29), ("512M", 512_000_000), ("1e3", 1000), ("42", 42)],
)
def test_quantities_are_read_as_kubernetes_reads_them(quantity: str, size_bytes: int) -> None:
    assert bytes_of(quantity) == size_bytes
