"""The pooler in front of PostgreSQL's primary: PgBouncer, for stacks that ask for it. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.desired.context import RECORD, Context
from appstack_operator.desired.parameter_limits import connections_of
from appstack_operator.desired.pods import (
    container_security,
    host_aliases,
    http_probe,
    placement,
    pod_security,
    pull_secrets,
)
from appstack_operator.desired.stateful import (
    CONFIG_CHECKSUM,
    build_config_map,
    build_disruption_budget,
    build_service,
    container_ports,
    from_secret,
    memory_volume,
)
from appstack_operator.desired.templates import render
from appstack_operator.objects import Object, content_hash, labels, metadata, selector

COMPONENT = "postgres-pooler"
USER_ID = 5432
PORTS = {"postgres": 5432}
PROBES = {"probes": 8009}  # of `images/postgres/agent/pooler.py`
# The most of the primary's connections, for all poolers together, also where it takes more than usual: a pooler follows
# a new value at once, and the primary only when it is restarted.
MOST_SERVER_CONNECTIONS = 120


def build_pooler(stack: AppStack, context: Context) -> list[Object]:
    """All objects of the pooler; none where it is not asked for."""
    if not stack.spec.postgres.pooler.enabled:
        return []
    return [
        build_config_map(stack, COMPONENT, {"pgbouncer.ini": build_configuration(stack, context)}),
        build_service(stack, COMPONENT, f"{stack.name}-{COMPONENT}", PORTS),
        build_disruption_budget(stack, COMPONENT),
        build_deployment(stack, context),
    ]


def build_configuration(stack: AppStack, context: Context) -> str:
    """pgbouncer.ini."""
    pooler = stack.spec.postgres.pooler
    return render(
        "pgbouncer.ini.j2",
        host=primary_host(stack, context),
        pool_mode=pooler.pool_mode.value,
        pool_size=server_connections(stack, context) // pooler.replicas,
    )


def server_connections(stack: AppStack, context: Context) -> int:
    """For all poolers together: three fifths, the rest stays for reading past them, migrations and people."""
    settings = context.parameters.in_force if context.parameters else stack.spec.postgres.parameters
    return min(connections_of(settings) * 3 // 5, MOST_SERVER_CONNECTIONS)


def primary_host(stack: AppStack, context: Context) -> str:
    """Where the pooler finds the primary."""
    return context.host(f"{stack.name}-postgres-rw", stack.namespace)


def build_deployment(stack: AppStack, context: Context) -> Object:
    """Pooler pods: a new one is ready before an old one goes, and an old one lets its transactions end."""
    pod: Object = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": pod_security(USER_ID),
        "terminationGracePeriodSeconds": 30,
        **placement(stack, COMPONENT),
        **pull_secrets(stack),
        **host_aliases(context, {primary_host(stack, context): f"{stack.name}-postgres-rw"}),
        "containers": [build_container(stack, context)],
        "volumes": [
            {"name": "config", "configMap": {"name": f"{stack.name}-{COMPONENT}"}},
            memory_volume("run", "1Mi"),
        ],
    }
    pod["topologySpreadConstraints"][0]["matchLabelKeys"] = ["pod-template-hash"]
    annotations = {
        CONFIG_CHECKSUM: content_hash([build_configuration(stack, context), context.credentials.postgres_app])
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(stack, COMPONENT),
        "spec": {
            "replicas": stack.spec.postgres.pooler.replicas,
            "selector": {"matchLabels": selector(stack, COMPONENT)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": 300,
            "revisionHistoryLimit": 3,
            "template": {"metadata": {"labels": labels(stack, COMPONENT), "annotations": annotations}, "spec": pod},
        },
    }


def build_container(stack: AppStack, context: Context) -> Object:
    """PgBouncer; ready without a primary too, because clients are to wait for one in its queue."""
    return {
        "name": "pooler",
        "image": context.images.postgres,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/local/lib/appstack/pooler.py", "/etc/pooler/pgbouncer.ini"],
        "env": [
            {"name": "APP_USERNAME", "value": "app"},
            # What is in force, which an edited Secret need not be.
            from_secret("APP_PASSWORD", f"{stack.name}-{RECORD}", "postgres_app"),
        ],
        "ports": container_ports(PORTS | PROBES),
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}},
        "securityContext": container_security(),
        # Until one that is frozen is out of its Service, after two silent looks, it is led every second client.
        "readinessProbe": http_probe("/", "probes", period_seconds=2, failures=2, timeout_seconds=2),
        "livenessProbe": http_probe("/", "probes", period_seconds=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/pooler", "readOnly": True},
            {"name": "run", "mountPath": "/run/pooler"},
        ],
    }
