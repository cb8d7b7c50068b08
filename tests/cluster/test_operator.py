"""The operator in its pod: what it may do, and that it puts back what somebody changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from appstack_operator.kinds import CHILDREN
from tests.cluster.kit.kube import wait_until

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.yaml"))
OPERATOR = "system:serviceaccount:appstack-system:appstack-operator"
# What is noticed is noticed at once, by whoever leads now; the next look by the clock comes after ten minutes.
NOTICE_SECONDS = 240


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("*", "*"),
        ("create", "clusterroles"),
        ("delete", "nodes"),
        ("create", "clusterrolebindings"),
        ("update", "validatingwebhookconfigurations"),
        ("impersonate", "users"),
        ("create", "pods/exec"),
        ("get", "nodes/proxy"),
        ("escalate", "roles"),
    ],
)
def test_it_may_not_do_what_it_does_not_need(kube: Kube, operator: None, verb: str, resource: str) -> None:
    assert not kube.allows(OPERATOR, verb, resource)


def test_every_kind_that_it_makes_it_may_make_change_and_remove(kube: Kube, operator: None) -> None:
    assert kube.allows(OPERATOR, "list", "appstacks.appstack.dev")
    needed = [
        (verb, f"{kind.plural}.{kind.group}".rstrip("."))
        for kind in CHILDREN
        if not kind.is_optional  # `auth can-i` knows no rights to kinds that the cluster does not serve
        for verb, is_needed in (("create", kind.is_made), ("patch", kind.is_made), ("delete", kind.is_pruned))
        if is_needed
    ]
    assert [(verb, resource) for verb, resource in needed if not kube.allows(OPERATOR, verb, resource)] == []


def test_a_deleted_service_is_made_again(shop: Stack, kube: Kube) -> None:
    before = kube.get("service", f"{shop.name}-api", "-n", shop.namespace)["metadata"]["uid"]
    kube.run("delete", "service", f"{shop.name}-api", "-n", shop.namespace, "--wait=false")

    def is_new() -> bool:
        found = kube.items("services", "-n", shop.namespace, "--field-selector", f"metadata.name={shop.name}-api")
        return bool(found) and found[0]["metadata"]["uid"] != before

    wait_until(is_new, "the Service is there again", limit_seconds=NOTICE_SECONDS)


def test_a_changed_field_is_put_back(shop: Stack, kube: Kube) -> None:
    name, where = f"{shop.name}-api", ("-n", shop.namespace)
    kube.run("patch", "service", name, *where, "--type=merge", "-p", '{"spec":{"selector":{"app":"stolen"}}}')

    def is_repaired() -> bool:
        return "app" not in kube.get("service", name, *where)["spec"]["selector"]

    wait_until(is_repaired, "the selector is the operator's again", limit_seconds=NOTICE_SECONDS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_accepted_by_the_api_server(kube: Kube, operator: None, example: Path) -> None:
    said = kube.run("apply", "--dry-run=server", "-n", "default", "-f", str(example))
    assert "appstack.dev" in said


def test_a_name_that_leaves_no_room_for_its_objects_is_refused(kube: Kube, operator: None) -> None:
    manifest = {"apiVersion": "appstack.dev/v1alpha1", "kind": "AppStack", "metadata": {"name": "x" * 31}, "spec": {}}
    with pytest.raises(AssertionError, match="30"):
        kube.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
