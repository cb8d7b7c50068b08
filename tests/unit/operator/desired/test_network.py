"""The NetworkPolicies, evaluated as a network would: flows that are needed pass, all others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.desired.network import build_network_policies
from appstack_operator.desired.stack import build_stack
from tests.unit.operator.factories import a_context, a_stack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appstack_operator.objects import Object

Labels = dict[str, str]
STACK = a_stack(postgres={"pooler": {"enabled": True}})
CONTEXT = a_context(operator_namespace="appstack-system")
POLICIES = build_network_policies(STACK, CONTEXT)


def matches(chosen: Object, labels: Labels) -> bool:
    """Whether a label selector finds these labels; an empty one finds everything."""
    if any(labels.get(key) != value for key, value in chosen.get("matchLabels", {}).items()):
        return False
    return all(holds(each, labels) for each in chosen.get("matchExpressions", []))


def holds(expression: Object, labels: Labels) -> bool:
    """Whether one expression of a selector is true of these labels."""
    key = expression["key"]
    if expression["operator"] == "Exists":
        return key in labels
    is_in = labels.get(key) in expression["values"]
    return {"In": is_in, "NotIn": not is_in}[expression["operator"]]


def is_peer(peer: Object, home: str, namespace: str, labels: Labels) -> bool:
    """Whether a peer of a rule, written in namespace `home`, is that pod."""
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace}):
            return False
    elif namespace != home:
        return False
    return matches(peer.get("podSelector", {}), labels)


def rule_allows(rule: Object, side: str, home: str, other: tuple[str, Labels], port: int) -> bool:
    numbers = {"http": 8000}
    is_port = not rule.get("ports") or any(numbers.get(each["port"], each["port"]) == port for each in rule["ports"])
    peers = rule.get(side)
    return is_port and (not peers or any(is_peer(peer, home, *other) for peer in peers))


def one_side_allows(direction: str, pod: tuple[str, Labels], other: tuple[str, Labels], port: int) -> bool:
    """No policy chooses the pod for this direction: all is allowed; else one of their rules has to allow it."""
    side = "from" if direction == "Ingress" else "to"
    chosen = [
        policy["spec"]
        for policy in POLICIES
        if policy["metadata"]["namespace"] == pod[0]
        and direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], pod[1])
    ]
    rules: Iterable[Any] = [rule for spec in chosen for rule in spec.get(direction.lower(), [])]
    return not chosen or any(rule_allows(rule, side, pod[0], other, port) for rule in rules)


def passes(source: str, target: str, port: int) -> bool:
    """Whether a connection from one pod to another one gets through both sides."""
    a, b = pod(source), pod(target)
    return one_side_allows("Egress", a, b, port) and one_side_allows("Ingress", b, a, port)


def pod(name: str) -> tuple[str, Labels]:
    """A pod by the name of its component: of shop, of another stack, of nobody, or the operator's."""
    if name == "operator":
        return "appstack-system", {"app.kubernetes.io/name": "appstack-operator"}
    if name == "an impostor of the operator":
        return "elsewhere", {"app.kubernetes.io/name": "appstack-operator"}
    if name == "somebody":
        return "elsewhere", {"app": "somebody"}
    if name == "somebody in the namespace":
        return "shop", {"app": "somebody"}
    if name == "a pod of no component":
        return "shop", {"appstack.dev/stack": "shop"}
    owner, _, component = name.rpartition("/")
    return "shop", {"appstack.dev/stack": owner or "shop", "appstack.dev/component": component}


# Of the workers' pools one is no longer in the spec: its pods still finish their messages.
BACKEND = ["api", "worker-bulk", "worker-removed", "migrate", "cron-purge-expired"]
NEEDED = [
    *((each, "postgres", 5432) for each in (*BACKEND, "postgres", "operator", "postgres-pooler")),
    *((each, "postgres", 8008) for each in ("postgres", "operator")),
    *((each, "redis", 6379) for each in (*BACKEND, "redis", "redis-sentinel", "operator")),
    *((each, "redis", 6380) for each in ("redis", "redis-sentinel")),
    *((each, "redis-sentinel", 26379) for each in (*BACKEND, "redis", "redis-sentinel", "operator")),
    *((each, "rabbitmq", 5672) for each in (*BACKEND, "rabbitmq")),
    *((each, "rabbitmq", 15672) for each in ("rabbitmq", "operator")),
    *(("rabbitmq", "rabbitmq", port) for port in (4369, 25672, 15690)),
    *((each, "api", 8000) for each in ("somebody", "somebody in the namespace", "other/worker-bulk")),
    *((each, "postgres-pooler", 5432) for each in (*BACKEND, "operator")),
    ("operator", "api", 8000),
    ("redis", "somebody", 53),
    ("rabbitmq", "somebody", 53),
    ("postgres", "somebody", 6443),
    ("redis-sentinel", "somebody", 443),
    ("worker-bulk", "somebody", 443),
]
REFUSED = [
    *(
        (stranger, target, port)
        for stranger in (
            "somebody",
            "somebody in the namespace",
            "a pod of no component",
            "other/api",
            "an impostor of the operator",
        )
        for target, port in (
            ("postgres", 5432),
            ("postgres", 8008),
            ("postgres-pooler", 5432),
            ("redis", 6379),
            ("redis", 6380),
            ("redis-sentinel", 26379),
            ("rabbitmq", 5672),
            ("rabbitmq", 15672),
            ("rabbitmq", 25672),
            ("rabbitmq", 15692),
        )
    ),
    *((each, "postgres", 8008) for each in (*BACKEND, "redis", "rabbitmq")),
    *((each, "postgres", 5432) for each in ("redis", "redis-sentinel", "rabbitmq")),
    *((each, "redis", 6380) for each in BACKEND),
    *((each, "rabbitmq", port) for each in BACKEND for port in (15672, 25672, 4369, 15690)),
    *((each, "worker-bulk", port) for each in ("api", "somebody", "operator") for port in (8000, 9000)),
    *((each, "api", 9000) for each in ("somebody", "worker-bulk")),
    ("redis", "somebody", 443),
    ("rabbitmq", "somebody", 443),
    ("rabbitmq", "postgres", 5432),
    ("redis", "rabbitmq", 5672),
]


@pytest.mark.parametrize(("source", "target", "port"), NEEDED)
def test_what_is_needed_passes(source: str, target: str, port: int) -> None:
    assert passes(source, target, port)


@pytest.mark.parametrize(("source", "target", "port"), REFUSED)
def test_what_nobody_needs_is_refused(source: str, target: str, port: int) -> None:
    assert not passes(source, target, port)


def test_every_pod_of_a_stack_is_chosen_by_a_policy() -> None:
    for item in build_stack(STACK, CONTEXT):
        template = item.manifest.get("spec", {}).get("template")
        if item.manifest["kind"] == "CronJob":
            template = item.manifest["spec"]["jobTemplate"]["spec"]["template"]
        if template:
            labels = template["metadata"]["labels"]
            assert any(matches(policy["spec"]["podSelector"], labels) for policy in POLICIES), labels


def test_prometheus_comes_in_only_where_monitoring_is_on() -> None:
    monitored = build_network_policies(
        a_stack(postgres={"pooler": {"enabled": True}}, monitoring={"enabled": True}), CONTEXT
    )
    opened = [rule for policy in monitored for rule in policy["spec"]["ingress"] if rule not in all_rules()]
    assert sorted(each["port"] for rule in opened for each in rule["ports"]) == [8008, 9000, 9000, 15692]


def all_rules() -> list[Object]:
    return [rule for policy in POLICIES for rule in policy["spec"]["ingress"]]


def test_none_where_the_spec_wants_none() -> None:
    assert build_network_policies(a_stack(networkPolicy={"enabled": False}), CONTEXT) == []


def test_another_port_of_the_api_shuts_no_pod_out_that_still_has_the_old_one() -> None:
    """Policies are written before the rollout: their rule names the port as both kinds of pods do."""
    another = build_network_policies(
        a_stack(postgres={"pooler": {"enabled": True}}, backend={"image": "shop:1", "api": {"port": 9999}}), CONTEXT
    )
    (door,), (before,) = (
        [each["spec"]["ingress"] for each in policies if each["metadata"]["name"] == "shop-api"]
        for policies in (another, POLICIES)
    )
    assert door == before
