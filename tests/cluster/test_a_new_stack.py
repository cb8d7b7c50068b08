"""`examples/minimal.yaml`: a name and `spec: {}` are a complete, working stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube, Object
    from tests.cluster.kit.stack import Stack

COMPONENT_CONDITIONS = (
    "PostgresReady",
    "RedisReady",
    "RabbitMQReady",
    "MigrationsApplied",
    "APIReady",
    "WorkersReady",
    "CronJobsReady",
)


def containers_of(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def test_an_empty_spec_becomes_ready_in_every_component(shop: Stack) -> None:
    for kind in ("Ready", *COMPONENT_CONDITIONS):
        shop.wait_for(kind)


def test_it_is_highly_available(shop: Stack) -> None:
    shop.wait_for("HighlyAvailable")


def test_kubectl_get_tells_a_person_how_it_stands(shop: Stack, kube: Kube) -> None:
    header, line = kube.run("get", "appstack", shop.name, "-n", shop.namespace).splitlines()
    assert header.split() == ["NAME", "READY", "HA", "REASON", "PRIMARY", "API", "WORKERS", "AGE"]
    name, ready, available, reason, primary, api, workers, _age = line.split()
    assert (name, ready, available, reason, api, workers) == ("shop", "True", "True", "Healthy", "2/2", "2/2")
    assert primary.startswith("shop-postgres-")


def test_its_start_was_no_reason_for_a_warning(shop: Stack, kube: Kube) -> None:
    about = "regarding.kind=AppStack,regarding.name=shop"
    found = kube.items("events.events.k8s.io", "-n", shop.namespace, "--field-selector", about)
    told = sorted(found, key=lambda event: str(event["eventTime"]))
    ready = next((each for each in told if (each["action"], each["reason"]) == ("Ready", "Healthy")), None)
    assert ready, "events are kept for an hour, and this stack is older: make the cluster anew"
    start = told[: told.index(ready) + 1]
    assert [each["note"] for each in start if each["type"] != "Normal"] == []


def test_kubectl_wait_works(shop: Stack, kube: Kube) -> None:
    said = kube.run("wait", "--for=condition=Ready", f"appstack/{shop.name}", "-n", shop.namespace, "--timeout=60s")
    assert "condition met" in said


def test_every_container_has_requests_and_limits(shop: Stack, kube: Kube) -> None:
    pods = [*kube.items("pods", "-n", shop.namespace), *kube.items("pods", "-n", "appstack-system")]
    assert len(pods) >= 17
    without = [
        f"{pod['metadata']['name']}/{container['name']}"
        for pod in pods
        for container in containers_of(pod)
        for kind in ("requests", "limits")
        if not {"cpu", "memory"} <= container["resources"].get(kind, {}).keys()
    ]
    assert without == []


def test_nothing_restarts_in_a_healthy_stack(shop: Stack, kube: Kube) -> None:
    restarted = {
        pod["metadata"]["name"]: status["restartCount"]
        for component in ("api", "worker-bulk", "postgres", "redis", "redis-sentinel", "rabbitmq")
        for pod in shop.pods(component)
        for status in pod["status"]["containerStatuses"]
        if status["restartCount"]
    }
    assert restarted == {}


def test_the_primary_service_leads_to_the_primary_alone(shop: Stack, kube: Kube) -> None:
    primary = shop.object()["status"]["postgres"]["primary"]
    slices = kube.items(
        "endpointslices", "-n", shop.namespace, "-l", f"kubernetes.io/service-name={shop.name}-postgres-rw"
    )
    targets = [endpoint["targetRef"]["name"] for piece in slices for endpoint in piece["endpoints"]]
    assert targets == [primary]
