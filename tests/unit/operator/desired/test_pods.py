"""What all pods have in common: resources, registries, and names that need no DNS server."""

from __future__ import annotations

import re
from typing import Any

import pytest

from appstack_operator.api import AppStack, Resources
from appstack_operator.desired.environment import connection_variables
from appstack_operator.desired.pods import pod_spec_of, resources
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
    return pods_of(a_stack(backend=backend, postgres={"pooler": {"enabled": True}}))


def pods_of(stack: AppStack) -> dict[str, Any]:
    """The same for a stack of one's own."""
    manifests = [item.manifest for item in build_stack(stack, a_context())]
    found = {f"{each['kind']} {each['metadata']['name']}": pod_spec_of(each) for each in manifests}
    return {name: pod for name, pod in found.items() if pod}


def test_every_pod_may_pull_from_the_registry() -> None:
    found = pod_specs(imagePullSecrets=[{"name": "registry"}])
    assert {"StatefulSet shop-postgres", "StatefulSet shop-rabbitmq", "Deployment shop-postgres-pooler"} <= found.keys()
    assert {name for name, pod in found.items() if pod.get("imagePullSecrets") != [{"name": "registry"}]} == set()


def test_without_a_secret_no_template_changes_for_it() -> None:
    assert [name for name, pod in pod_specs().items() if "imagePullSecrets" in pod] == []


def names_in(pod: dict[str, Any]) -> dict[str, str]:
    """Host name -> address, as the pod's /etc/hosts will have it."""
    return {name: alias["ip"] for alias in pod.get("hostAliases", ()) for name in alias["hostnames"]}


@pytest.mark.parametrize("pooler", [False, True], ids=["direct", "pooled"])
def test_every_host_that_the_backend_is_told_of_is_known_to_its_pods_without_a_dns_server(pooler: bool) -> None:
    stack, context = a_stack(postgres={"pooler": {"enabled": pooler}}), a_context()
    told = set(re.findall(r"[\w.-]+\.svc\.cluster\.local", " ".join(connection_variables(stack, context).values())))
    known = {f"{service}.shop.svc.cluster.local": address for service, address in context.addresses.items()}
    clients = {name: pod for name, pod in pods_of(stack).items() if pod["containers"][0]["image"] == "backend:1"}
    assert len(clients) == 6  # API, workers, migration, three scheduled jobs
    for pod in clients.values():
        assert told <= names_in(pod).keys()
        assert names_in(pod).items() <= known.items()
    # With a pooler too: migrations go past it.
    assert all("shop-postgres-rw.shop.svc.cluster.local" in names_in(pod) for pod in clients.values())


def test_the_pooler_finds_the_primary_without_a_dns_server() -> None:
    assert names_in(pod_specs()["Deployment shop-postgres-pooler"]).keys() == {
        "shop-postgres-rw.shop.svc.cluster.local"
    }


def test_the_names_of_an_external_service_are_left_to_dns() -> None:
    external = {"mode": "External", "external": {"secretName": "theirs"}}
    stack = a_stack(postgres=external, redis=external, rabbitmq=external)
    assert [name for name, pod in pods_of(stack).items() if "hostAliases" in pod] == []


def test_no_pod_waits_for_long_for_a_dns_server_that_is_gone() -> None:
    options = [{each["name"]: each["value"] for each in pod["dnsConfig"]["options"]} for pod in pod_specs().values()]
    assert options == [{"ndots": "2", "timeout": "1", "attempts": "2"}] * len(options)
