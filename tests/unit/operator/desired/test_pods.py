"""Requests and limits: the spec's over the defaults, and never a request above its limit."""

from __future__ import annotations

from typing import Any

import pytest

from appstack_operator.api import Resources
from appstack_operator.desired.pods import resources
from appstack_operator.desired.stack import build_stack
from tests.unit.operator.factories import a_context, a_stack

REQUESTS = {"cpu": "100m", "memory": "256Mi"}
LIMITS = {"cpu": "1", "memory": "512Mi"}


@pytest.mark.parametrize(
    ("wanted", "requests", "limits"),
    [
        pytest.param({}, REQUESTS, LIMITS, id="the defaults"),
        pytest.param(
            {"requests": {"cpu": "2"}},
            {"cpu": "2", "memory": "256Mi"},
            {"cpu": "2", "memory": "512Mi"},
            id="a request above the default limit raises it",
        ),
        pytest.param(
            {"limits": {"memory": "0.1Gi"}},
            {"cpu": "100m", "memory": "0.1Gi"},
            {"cpu": "1", "memory": "0.1Gi"},
            id="a limit below the default request lowers it",
        ),
        pytest.param(
            {"requests": {"cpu": 1}, "limits": {"cpu": "1500m", "example.com/gpu": 1}},
            {"cpu": "1", "memory": "256Mi"},
            {"cpu": "1500m", "memory": "512Mi", "example.com/gpu": "1"},
            id="both are kept where both are given",
        ),
    ],
)
def test_the_spec_wins_over_the_defaults(wanted: dict[str, Any], requests: Any, limits: Any) -> None:
    built = resources(Resources.model_validate(wanted), requests=REQUESTS, limits=LIMITS)
    assert built == {"requests": requests, "limits": limits}


def pod_specs(**backend: Any) -> dict[str, Any]:
    """Kind and name -> spec of the pods, of all that runs any."""
    stack = a_stack(backend=backend, postgres={"pooler": {"enabled": True}})
    manifests = [item.manifest for item in build_stack(stack, a_context())]
    templates = {
        f"{each['kind']} {each['metadata']['name']}": each["spec"].get("jobTemplate", each)["spec"].get("template")
        for each in manifests
        if "spec" in each
    }
    return {name: template["spec"] for name, template in templates.items() if template}


def test_every_pod_may_pull_from_the_registry() -> None:
    found = pod_specs(imagePullSecrets=[{"name": "registry"}])
    assert {"StatefulSet shop-postgres", "StatefulSet shop-rabbitmq", "Deployment shop-postgres-pooler"} <= found.keys()
    assert {name for name, pod in found.items() if pod.get("imagePullSecrets") != [{"name": "registry"}]} == set()


def test_without_a_secret_no_template_changes_for_it() -> None:
    assert [name for name, pod in pod_specs().items() if "imagePullSecrets" in pod] == []
