"""NetworkPolicies: who may talk to the pods of a stack, and where those of Redis and RabbitMQ may talk to. Pure.

The backend, PostgreSQL and the Sentinels may go anywhere: user code calls whom it likes, and the API server's address
and port cannot be told by labels. What a platform needs beside this it adds by policies of its own: they add up.
"""

from collections.abc import Iterable, Sequence

from appstack_operator.api import AppStack, Mode
from appstack_operator.desired import pooler, postgres, rabbitmq, redis
from appstack_operator.desired.backend import METRICS_PORT, is_bundled
from appstack_operator.desired.context import Context
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL, Object, metadata, selector

API = "api"
DATA = (postgres.COMPONENT, pooler.COMPONENT, redis.COMPONENT, redis.SENTINEL, rabbitmq.COMPONENT)
OPERATOR_LABELS = {"app.kubernetes.io/name": "appstack-operator"}
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
DNS_PORTS: list[Object] = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


def build_network_policies(stack: AppStack, context: Context) -> list[Object]:
    """One policy for each component that the operator makes; none if the spec wants none."""
    if not stack.spec.network_policy.enabled:
        return []
    policies = [build_api_policy(stack), build_jobs_policy(stack)]
    if stack.spec.postgres.mode is Mode.MANAGED:
        policies.append(build_postgres_policy(stack, context))
        policies += [build_pooler_policy(stack, context)] if stack.spec.postgres.pooler.enabled else []
    if stack.spec.redis.mode is Mode.MANAGED:
        policies += [build_redis_policy(stack, context), build_sentinel_policy(stack, context)]
    if stack.spec.rabbitmq.mode is Mode.MANAGED:
        policies.append(build_rabbitmq_policy(stack, context))
    return policies


def build_api_policy(stack: AppStack) -> Object:
    """The API is the stack's door: its port takes whoever comes."""
    # By its name: while another number is rolled out, old and new pods have one each.
    rules = [{"ports": ports(["http"])}, *metrics_rules(stack, [METRICS_PORT])]
    return build_policy(stack, API, pods_of(stack, [API]), rules)


def build_jobs_policy(stack: AppStack) -> Object:
    """Workers, migrations and scheduled jobs: nobody connects to them but Prometheus."""
    return build_policy(stack, "backend", pods_but(stack, [API, *DATA]), metrics_rules(stack, [METRICS_PORT]))


def build_postgres_policy(stack: AppStack, context: Context) -> Object:
    """Clients reach the database, members each other, the operator and the members Patroni."""
    database, patroni = postgres.POD_PORTS["postgres"], postgres.POD_PORTS["patroni"]
    clients = pods_but(stack, [redis.COMPONENT, redis.SENTINEL, rabbitmq.COMPONENT])
    rules = [
        rule([peer(clients), operator(context)], [database]),
        rule([peer(pods_of(stack, [postgres.COMPONENT])), operator(context)], [patroni]),
        *metrics_rules(stack, [patroni]),
    ]
    return build_policy(stack, postgres.COMPONENT, pods_of(stack, [postgres.COMPONENT]), rules)


def build_pooler_policy(stack: AppStack, context: Context) -> Object:
    """Clients reach the pooler, and so does the operator, which asks whether its node is there."""
    rules = [rule([peer(pods_but(stack, DATA)), operator(context)], [pooler.PORTS["postgres"]])]
    return build_policy(stack, pooler.COMPONENT, pods_of(stack, [pooler.COMPONENT]), rules)


def build_redis_policy(stack: AppStack, context: Context) -> Object:
    """Clients, members, Sentinels and the operator reach Redis; members and Sentinels its keeper."""
    group = pods_of(stack, [redis.COMPONENT, redis.SENTINEL])
    everybody = pods_but(stack, [postgres.COMPONENT, pooler.COMPONENT, rabbitmq.COMPONENT])
    data, keeper = redis.POD_PORTS["redis"], redis.POD_PORTS["keeper"]
    rules = [rule([peer(everybody), operator(context)], [data]), rule([peer(group)], [keeper])]
    sentinel = redis.SENTINEL_PORTS["sentinel"]
    egress = [to([peer(group)], [data, keeper, sentinel]), {"ports": DNS_PORTS}]
    return build_policy(stack, redis.COMPONENT, pods_of(stack, [redis.COMPONENT]), rules, egress)


def build_sentinel_policy(stack: AppStack, context: Context) -> Object:
    """Clients, members, Sentinels and the operator reach the Sentinels."""
    everybody = pods_but(stack, [postgres.COMPONENT, pooler.COMPONENT, rabbitmq.COMPONENT])
    rules = [rule([peer(everybody), operator(context)], [redis.SENTINEL_PORTS["sentinel"]])]
    return build_policy(stack, redis.SENTINEL, pods_of(stack, [redis.SENTINEL]), rules)


def build_rabbitmq_policy(stack: AppStack, context: Context) -> Object:
    """Clients reach the broker, nodes each other, the operator the management API."""
    nodes, clients = pods_of(stack, [rabbitmq.COMPONENT]), pods_but(stack, DATA)
    among_nodes = [port for name, port in rabbitmq.POD_PORTS.items() if name != "prometheus"]
    rules = [
        rule([peer(clients)], [rabbitmq.POD_PORTS["amqp"]]),
        rule([operator(context)], [rabbitmq.POD_PORTS["management"]]),
        rule([peer(nodes)], among_nodes),
        *metrics_rules(stack, [rabbitmq.POD_PORTS["prometheus"]]),
    ]
    egress = [to([peer(nodes)], among_nodes), {"ports": DNS_PORTS}]
    return build_policy(stack, rabbitmq.COMPONENT, nodes, rules, egress)


def build_policy(
    stack: AppStack, component: str, chosen: Object, ingress: Sequence[Object], egress: Sequence[Object] | None = None
) -> Object:
    """Whatever no rule allows to or from these pods is refused."""
    spec: Object = {"podSelector": chosen, "policyTypes": ["Ingress"], "ingress": list(ingress)}
    if egress is not None:
        spec |= {"policyTypes": ["Ingress", "Egress"], "egress": list(egress)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(stack, component),
        "spec": spec,
    }


def pods_of(stack: AppStack, components: Sequence[str]) -> Object:
    """A selector of the pods of some components of this stack, and of no other stack."""
    if len(components) == 1:
        return {"matchLabels": selector(stack, components[0])}
    return {
        "matchLabels": {STACK_LABEL: stack.name},
        "matchExpressions": [{"key": COMPONENT_LABEL, "operator": "In", "values": sorted(components)}],
    }


def pods_but(stack: AppStack, components: Sequence[str]) -> Object:
    """A selector of the stack's pods of all other components: without names, so that a pool on its way out is in it."""
    return {
        "matchLabels": {STACK_LABEL: stack.name},
        "matchExpressions": [
            {"key": COMPONENT_LABEL, "operator": "Exists"},
            {"key": COMPONENT_LABEL, "operator": "NotIn", "values": sorted(components)},
        ],
    }


def peer(chosen: Object) -> Object:
    """Pods of the stack's own namespace."""
    return {"podSelector": chosen}


def operator(context: Context) -> Object:
    """The operator's pods, which ask the services how they are."""
    home = {"matchLabels": {NAMESPACE_LABEL: context.operator_namespace}} if context.operator_namespace else {}
    return {"namespaceSelector": home, "podSelector": {"matchLabels": OPERATOR_LABELS}}


def rule(sources: Sequence[Object], numbers: Iterable[int]) -> Object:
    """Those sources may come to these ports."""
    return {"from": list(sources), "ports": ports(numbers)}


def to(targets: Sequence[Object], numbers: Iterable[int]) -> Object:
    """The pods may go to these ports of those targets."""
    return {"to": list(targets), "ports": ports(numbers)}


def metrics_rules(stack: AppStack, numbers: Sequence[int]) -> list[Object]:
    """With monitoring on, Prometheus comes from any namespace; where it lives cannot be known."""
    if not stack.spec.monitoring.enabled or (list(numbers) == [METRICS_PORT] and not is_bundled(stack)):
        return []
    return [{"from": [{"namespaceSelector": {}}], "ports": ports(numbers)}]


def ports(wanted: Iterable[int | str]) -> list[Object]:
    """TCP ports in a rule, by number or by a name that the pods give them."""
    return [{"protocol": "TCP", "port": port} for port in wanted]
