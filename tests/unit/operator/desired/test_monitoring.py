"""What Prometheus is told: every port that it scrapes exists, and every alert asks for a metric that is published."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from appstack_operator.desired.monitoring import ALERTS, build_monitoring
from appstack_operator.desired.stack import build_stack
from appstack_operator.gates import Gates
from appstack_operator.metrics import CONDITIONS
from appstack_operator.observed import Observed
from appstack_operator.plan import plan
from tests.unit.operator.factories import a_context, a_stack

if TYPE_CHECKING:
    from appstack_operator.api import AppStack

STACK = a_stack(monitoring={"enabled": True})


def test_every_scraped_port_exists_on_every_chosen_pod() -> None:
    templates = [
        item.manifest["spec"]["template"]
        for item in build_stack(STACK, a_context())
        if item.manifest["kind"] in ("StatefulSet", "Deployment")
    ]
    for monitor in build_monitoring(STACK):
        if monitor["kind"] != "PodMonitor":
            continue
        (expression,) = monitor["spec"]["selector"]["matchExpressions"]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        chosen = [each for each in templates if each["metadata"]["labels"][expression["key"]] in expression["values"]]
        assert len(chosen) == len(expression["values"])
        for template in chosen:
            names = [port["name"] for each in template["spec"]["containers"] for port in each.get("ports", [])]
            assert endpoint["port"] in names


def test_alerts_ask_for_what_the_operator_publishes() -> None:
    (rule,) = [each for each in build_monitoring(STACK) if each["kind"] == "PrometheusRule"]
    (group,) = rule["spec"]["groups"]
    assert CONDITIONS._name == "appstack_condition"
    asked = [each["expr"] for each in group["rules"] if each["expr"].startswith("appstack_condition{")]
    assert len(asked) == len(ALERTS)
    assert all('namespace="shop",stack="shop"' in expression for expression in asked)
    (silence,) = [each["expr"] for each in group["rules"] if each["alert"] == "AppStackUnwatched"]
    assert silence == 'absent(appstack_condition{namespace="shop",stack="shop",condition="Ready"})'
    names = [each["alert"] for each in group["rules"]]
    assert {"AppStackNotReady", "AppStackReadyUnknown", "AppStackStalled"} <= set(names)
    assert len(names) == len(set(names))


def names_of_pods(stack: AppStack) -> list[str]:
    """As Kubernetes' controllers name them: what is generated keeps 58 letters before its own five."""
    found = []
    for item in build_stack(stack, a_context()):
        kind, name = item.manifest["kind"], item.manifest["metadata"]["name"]
        if kind == "StatefulSet":
            found += [f"{name}-{number}" for number in range(item.manifest["spec"]["replicas"])]
        elif kind in ("Deployment", "Job", "CronJob"):
            middle = {"Deployment": "-7d9f8b6c5d", "Job": "", "CronJob": "-29412345"}[kind]
            found.append(f"{name}{middle}-"[:58] + "x2b4z")
    return found


def pods_of_memory_alert(stack: AppStack) -> re.Pattern[str]:
    (rule,) = [each for each in build_monitoring(stack) if each["kind"] == "PrometheusRule"]
    (alert,) = [each for each in rule["spec"]["groups"][0]["rules"] if each["alert"] == "AppStackMemoryNearLimit"]
    patterns = re.findall(r'pod=~"([^"]*)"', alert["expr"])
    assert len(set(patterns)) == 1
    return re.compile(patterns[0])


FULL = {
    "postgres": {"instances": 3, "pooler": {"enabled": True}},
    "backend": {"workers": [{"name": "bulk", "queues": ["bulk"]}, {"name": "w" * 24, "queues": ["slow"]}]},
    "cronJobs": [{"name": "b", "schedule": "@daily"}, {"name": "c" * 21, "schedule": "@daily"}],
    "monitoring": {"enabled": True},
}


@pytest.mark.parametrize("name", ["shop", "s", "a" * 23, "a" * 30])
def test_the_memory_alert_is_about_every_pod_of_the_stack(name: str) -> None:
    stack = a_stack(name, **FULL)
    pods, pattern = names_of_pods(stack), pods_of_memory_alert(stack)
    assert len(pods) > 12
    assert [each for each in pods if not pattern.fullmatch(each)] == []


@pytest.mark.parametrize("other", ["shop-b", "shop-api", "shop-redis", "shop-postgres", "shop-worker", "shop-migrate"])
def test_the_memory_alert_is_about_no_pod_of_a_stack_whose_name_begins_alike(other: str) -> None:
    """`shop-.*` was: an alert of one team woke another one."""
    spec = {**FULL, "cronJobs": [{"name": "nightly", "schedule": "@daily"}]}
    pattern = pods_of_memory_alert(a_stack("shop", **FULL))
    assert [each for each in names_of_pods(a_stack(other, **spec)) if pattern.fullmatch(each)] == []


def test_where_the_kinds_are_unknown_nothing_of_it_is_planned() -> None:
    def planned(seen: Observed) -> set[str]:
        return {each.target.kind for each in plan(STACK, build_stack(STACK, a_context()), seen, Gates())}

    optional = {"PodMonitor", "PrometheusRule"}
    assert optional <= planned(Observed())
    assert not optional & planned(Observed(unknown_kinds=frozenset(optional)))


def test_without_monitoring_nothing_of_it_is_made() -> None:
    assert build_monitoring(a_stack()) == []
