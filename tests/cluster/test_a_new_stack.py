"""`examples/minimal.yaml`: a name and `spec: {}` are a complete, working stack."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.cluster.kit.kube import wait_until

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube, Object
    from tests.cluster.kit.stack import Stack

HANG_LIMIT_SECONDS = 300
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
    whole = r"shop +True +True +Healthy +shop-postgres-\d +2/2 +2/2 +\w+"

    def is_told() -> bool:
        """A pod that missed a probe may be told of for a moment."""
        header, line = kube.run("get", "appstack", shop.name, "-n", shop.namespace).splitlines()
        assert header.split() == ["NAME", "READY", "HA", "REASON", "PRIMARY", "API", "WORKERS", "AGE"]
        return bool(re.fullmatch(whole, line.strip()))

    wait_until(is_told, whole, HANG_LIMIT_SECONDS)


def test_its_start_was_no_reason_for_a_warning(shop: Stack, kube: Kube) -> None:
    about = "regarding.kind=AppStack,regarding.name=shop"

    def start() -> list[Object]:
        """What was told up to Ready; nothing until that is told, which comes after the condition itself."""
        found = kube.items("events.events.k8s.io", "-n", shop.namespace, "--field-selector", about)
        told = sorted(found, key=lambda event: str(event["eventTime"]))
        ready = next((n for n, each in enumerate(told) if (each["action"], each["reason"]) == ("Ready", "Healthy")), -1)
        return told[: ready + 1]

    why = "Ready is told (events are kept for an hour: of a stack that is older, make the cluster anew)"
    assert [each["note"] for each in wait_until(start, why, HANG_LIMIT_SECONDS) if each["type"] != "Normal"] == []


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
    def leads_there() -> bool:
        primary = shop.object()["status"]["postgres"]["primary"]
        slices = kube.items(
            "endpointslices", "-n", shop.namespace, "-l", f"kubernetes.io/service-name={shop.name}-postgres-rw"
        )
        targets = [endpoint["targetRef"]["name"] for piece in slices for endpoint in piece["endpoints"] or ()]
        return targets == [primary]

    wait_until(leads_there, "the Service leads to the primary alone", HANG_LIMIT_SECONDS)
