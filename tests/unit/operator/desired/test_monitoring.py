"""What Prometheus is told: every port that it scrapes exists, and every alert asks for a metric that is published."""

from __future__ import annotations

from appstack_operator.desired.monitoring import ALERTS, build_monitoring
from appstack_operator.desired.stack import build_stack
from appstack_operator.gates import Gates
from appstack_operator.metrics import CONDITIONS
from appstack_operator.observed import Observed
from appstack_operator.plan import plan
from tests.unit.operator.factories import a_context, a_stack

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


def test_where_the_kinds_are_unknown_nothing_of_it_is_planned() -> None:
    def planned(seen: Observed) -> set[str]:
        return {each.target.kind for each in plan(STACK, build_stack(STACK, a_context()), seen, Gates())}

    optional = {"PodMonitor", "PrometheusRule"}
    assert optional <= planned(Observed())
    assert not optional & planned(Observed(unknown_kinds=frozenset(optional)))


def test_without_monitoring_nothing_of_it_is_made() -> None:
    assert build_monitoring(a_stack()) == []
