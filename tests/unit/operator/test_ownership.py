"""A write is needed only when what we want changed or a field of ours belongs to somebody else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from appstack_operator.ownership import entry_of_ours, lost_fields, stamped

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "shop-api", "namespace": "shop", "labels": {"a": "b"}},
    "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}], "publishNotReadyAddresses": False},
}


@pytest.fixture
def live() -> dict[str, Any]:
    """The Service as a real API server showed it after we created it."""
    obj = copy.deepcopy(SERVICE)
    obj["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {}}}},
        {
            "manager": "appstack-operator",
            "operation": "Update",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:internalTrafficPolicy": {},
                    "f:ports": {
                        ".": {},
                        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}},
                    },
                    "f:selector": {},
                },
            },
        },
    ]
    return obj


def fields_of(live: dict[str, Any]) -> dict[str, Any]:
    entry = entry_of_ours(live)
    assert entry is not None
    fields: dict[str, Any] = entry["fieldsV1"]
    return fields


def test_an_untouched_object_has_lost_nothing(live: dict[str, Any]) -> None:
    assert lost_fields(SERVICE, live) == []


def test_a_field_that_somebody_took_is_named(live: dict[str, Any]) -> None:
    del fields_of(live)["f:spec"]["f:selector"]
    assert lost_fields(SERVICE, live) == ["spec.selector"]


def test_a_part_of_a_list_item_that_somebody_took_is_named(live: dict[str, Any]) -> None:
    (_, item) = (entry for entry in fields_of(live)["f:spec"]["f:ports"].items() if entry[0] != ".").__next__()
    del item["f:targetPort"]
    assert lost_fields(SERVICE, live) == ["spec.ports[0].targetPort"]


def test_a_list_item_that_is_gone_is_named(live: dict[str, Any]) -> None:
    fields_of(live)["f:spec"]["f:ports"] = {".": {}}
    assert lost_fields(SERVICE, live) == ["spec.ports[0]"]


def test_a_label_that_somebody_took_is_named(live: dict[str, Any]) -> None:
    fields_of(live)["f:metadata"]["f:labels"] = {".": {}}
    assert lost_fields(SERVICE, live) == ["metadata.labels.a"]


def test_an_empty_value_is_compared_itself(live: dict[str, Any]) -> None:
    live["spec"]["publishNotReadyAddresses"] = True
    assert lost_fields(SERVICE, live) == ["spec.publishNotReadyAddresses"]


def test_an_object_that_is_not_ours_has_lost_everything(live: dict[str, Any]) -> None:
    live["metadata"]["managedFields"] = []
    assert lost_fields(SERVICE, live) == ["metadata", "spec"]


def test_what_others_added_is_theirs(live: dict[str, Any]) -> None:
    live["metadata"]["annotations"] = {"team": "blue"}
    assert lost_fields(SERVICE, live) == []


def test_the_stamp_changes_with_the_content_alone() -> None:
    other = copy.deepcopy(SERVICE)
    other["spec"]["selector"] = {"a": "c"}
    reordered = dict(reversed(list(SERVICE.items())))
    assert stamped(SERVICE)["metadata"]["annotations"] == stamped(reordered)["metadata"]["annotations"]
    assert stamped(SERVICE)["metadata"]["annotations"] != stamped(other)["metadata"]["annotations"]
