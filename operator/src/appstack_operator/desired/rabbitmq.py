"""What RabbitMQ of a stack should look like: nodes that form one cluster, and only one. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.desired.context import RECORD, Context
from appstack_operator.desired.pods import container_security, host_aliases, resources
from appstack_operator.desired.quantities import MEBIBYTE, bytes_of
from appstack_operator.desired.stateful import (
    build_config_map,
    build_disruption_budget,
    build_headless_service,
    build_pod_service,
    build_service,
    build_stateful_set,
    container_ports,
    from_field,
    from_secret,
    memory_volume,
    pods_of,
)
from appstack_operator.desired.templates import render
from appstack_operator.objects import Object, content_hash

COMPONENT = "rabbitmq"
USER_ID = 5672
PORTS = {"amqp": 5672, "management": 15672}
POD_PORTS = {**PORTS, "prometheus": 15692, "epmd": 4369, "distribution": 25672, "guard": 15690}
PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"

# Copies of a quorum queue: a fourth and fifth would cost more than they save.
QUEUE_MEMBERS = 3

DEFAULT_REQUESTS = {"cpu": "100m", "memory": "256Mi"}
DEFAULT_LIMITS = {"cpu": "2", "memory": "1Gi"}


def build_rabbitmq(stack: AppStack, context: Context) -> list[Object]:
    """All objects of the managed RabbitMQ."""
    return [
        build_config_map(stack, COMPONENT, build_configuration(stack, disk_free_bytes(stack, context))),
        build_service(stack, COMPONENT, f"{stack.name}-rabbitmq", PORTS),
        build_headless_service(stack, COMPONENT, POD_PORTS),
        *(build_pod_service(stack, COMPONENT, pod, POD_PORTS) for pod in nodes_of(stack)),
        build_disruption_budget(stack, COMPONENT),
        build_nodes(stack, context),
    ]


def nodes_of(stack: AppStack) -> list[str]:
    """The pods; each has a Service of its name."""
    return pods_of(stack, COMPONENT, stack.spec.rabbitmq.replicas)


def pod_domain(stack: AppStack, context: Context) -> str:
    """What follows the pod's name in the name of its host."""
    return context.host(f"{stack.name}-rabbitmq-pods", stack.namespace)


def build_configuration(stack: AppStack, kept_free_bytes: int) -> dict[str, str]:
    """The files in /etc/rabbitmq."""
    conf = render(
        "rabbitmq.conf.j2",
        cluster_name=f"{stack.namespace}.{stack.name}",
        queue_members=min(stack.spec.rabbitmq.replicas, QUEUE_MEMBERS),
        memory_bytes=memory_limit(stack),
        disk_free_bytes=kept_free_bytes,
    )
    return {"rabbitmq.conf": conf, "enabled_plugins": PLUGINS}


def memory_limit(stack: AppStack) -> int:
    """Bytes that the container may use: RabbitMQ would otherwise take the node's memory for its own."""
    return bytes_of(stack.spec.rabbitmq.resources.limits.get("memory", DEFAULT_LIMITS["memory"]))


def disk_free_bytes(stack: AppStack, context: Context) -> int:
    """The limit for the smallest volume of a node, as it is."""
    return disk_free_limit(context.volume_bytes.get(COMPONENT, bytes_of(stack.spec.rabbitmq.storage.size)))


def disk_free_limit(volume_bytes: int) -> int:
    """Free space below which publishers are held back: a tenth of the volume, at most 1 GiB."""
    return min(volume_bytes // 10, 1024 * MEBIBYTE)


def build_nodes(stack: AppStack, context: Context) -> Object:
    """The StatefulSet of the nodes."""
    pod: Object = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        # A node that waits for a DNS server sends no ticks meanwhile, and counts as lost to all others.
        **host_aliases(context, {f"{pod}.{pod_domain(stack, context)}": pod for pod in nodes_of(stack)}),
        "containers": [build_container(stack, context)],
        "volumes": [
            {"name": "config", "configMap": {"name": f"{stack.name}-rabbitmq"}},
            memory_volume("run", "1Mi"),
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    return build_stateful_set(
        stack,
        COMPONENT,
        replicas=stack.spec.rabbitmq.replicas,
        pod=pod,
        user_id=USER_ID,
        # Not the limit of free space: a node that knows a smaller volume's is safe, and goes on without a restart.
        checksum=content_hash(build_configuration(stack, kept_free_bytes=0)),
        storage=stack.spec.rabbitmq.storage,
    )


def build_container(stack: AppStack, context: Context) -> Object:
    """One node. A node paused in a minority is alive and not ready: killing it would help nobody."""
    container: Object = {
        "name": "rabbitmq",
        "image": context.images.rabbitmq,
        "imagePullPolicy": "IfNotPresent",
        "env": build_environment(stack, context),
        "ports": container_ports(POD_PORTS),
        "resources": resources(stack.spec.rabbitmq.resources, requests=DEFAULT_REQUESTS, limits=DEFAULT_LIMITS),
        "securityContext": container_security(),
        "startupProbe": build_startup_probe(),
        "readinessProbe": build_readiness_probe(),
        "livenessProbe": build_liveness_probe(),
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/rabbitmq"},
            {"name": "config", "mountPath": "/etc/rabbitmq", "readOnly": True},
            {"name": "run", "mountPath": "/run/rabbitmq"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount, not a file
        ],
    }
    if stack.spec.rabbitmq.replicas > 1:
        # A node whose going would cost a queue its majority waits for the others to come back, for a time.
        wait = ["rabbitmq-upgrade", "--timeout", "20", "await_online_quorum_plus_one"]
        container["lifecycle"] = {"preStop": {"exec": {"command": wait}}}
    return container


def build_startup_probe() -> Object:
    """Whether the node takes connections at last: for 20 minutes it may wait for its peers, or load a large backlog."""
    return {
        "tcpSocket": {"port": PORTS["amqp"]},
        "periodSeconds": 2,
        "timeoutSeconds": 3,
        "failureThreshold": 600,
    }


def build_readiness_probe() -> Object:
    """Whether the node answers. The kernel takes connections for a frozen one, and new clients would wait there.

    A file that needs no password and counts nothing; a paused node closes this door with all others. A node that is
    merely slow has to be silent for four seconds.
    """
    return {
        "httpGet": {"path": "/", "port": PORTS["management"]},
        "periodSeconds": 2,
        "timeoutSeconds": 2,
        "failureThreshold": 2,
    }


def build_liveness_probe() -> Object:
    """Whether the Erlang machine answers; a minute and a half of silence is more than any pause that ends by itself."""
    return {
        "exec": {"command": ["python3", "-S", "-E", "/usr/local/lib/appstack/alive.py"]},
        "periodSeconds": 15,
        "timeoutSeconds": 10,
        "failureThreshold": 6,
    }


def build_environment(stack: AppStack, context: Context) -> list[Object]:
    """Who this node is, who the others are, and the secrets."""
    record = f"{stack.name}-{RECORD}"
    domain = pod_domain(stack, context)
    texts = {
        "PEER_DOMAIN": domain,
        "CLUSTER_SIZE": str(stack.spec.rabbitmq.replicas),
        "RABBITMQ_NODENAME": f"rabbit@$(POD_NAME).{domain}",
        "RABBITMQ_USE_LONGNAME": "true",
        "RABBITMQ_CONFIG_FILES": "/run/rabbitmq/conf.d",
        "RABBITMQ_LOG_BASE": "/run/rabbitmq/log",
        "RABBITMQ_LOGS": "-",
        # Erlang's schedulers would burn the processor while they wait for work. Ten ticks in `net_ticktime`, not four:
        # a lost node is noticed within 1.1 of it, not 1.25, and several ticks may come late without a false alarm.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none -kernel net_tickintensity 10",
    }
    return [
        from_field("POD_NAME", "metadata.name"),
        *({"name": name, "value": value} for name, value in texts.items()),
        {"name": "DEFAULT_USER", "value": "app"},
        from_secret("DEFAULT_PASS", record, "rabbitmq"),
        from_secret("ERLANG_COOKIE", record, "rabbitmq_erlang_cookie"),
    ]
