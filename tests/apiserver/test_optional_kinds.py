"""Monitoring objects are made where the Prometheus operator's kinds exist; their absence is no error.

The kinds stay in this run's cluster: while a kind goes, the API server answers 429 to whoever lists it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from appstack_operator.kinds import BY_NAME, STACK
from tests.apiserver.kit.life import NAME

if TYPE_CHECKING:
    from tests.apiserver.kit.life import Life

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def build_bare_definition(plural: str, kind: str) -> dict[str, Any]:
    """The kind alone, without its schema."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


async def test_monitoring_objects_are_made_once_their_kinds_exist(life: Life) -> None:
    kinds = {"podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"}
    await life.create()
    patch = {"spec": {"monitoring": {"enabled": True}}}
    merge = {"Content-Type": "application/merge-patch+json"}
    await life.ask("PATCH", STACK.path(life.cast.namespace, NAME), json=patch, headers=merge)
    await life.undisturbed(life.is_ready)  # without the kinds the stack is Ready all the same
    for plural, kind in kinds.items():
        await life.ask("POST", CRDS, json=build_bare_definition(plural, kind))

    async def all_are_made() -> bool:
        answers = [await life.cast.client.get(BY_NAME[kind].path(life.cast.namespace)) for kind in kinds.values()]
        return all(each.status_code == httpx.codes.OK and each.json()["items"] for each in answers)

    await life.undisturbed(all_are_made)
    (rule,) = await life.cast.list(BY_NAME["PrometheusRule"])
    assert rule["metadata"]["name"] == NAME
