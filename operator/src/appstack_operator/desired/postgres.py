"""What PostgreSQL of a stack should look like: members under Patroni, Services that follow roles. Pure."""

import json
from collections.abc import Mapping

from appstack_operator.api import AppStack
from appstack_operator.api.postgres import SynchronousReplication
from appstack_operator.desired.context import RECORD, Context, Parameters
from appstack_operator.desired.parameter_limits import DEFAULT_CONNECTIONS
from appstack_operator.desired.pods import container_security, http_probe, resources
from appstack_operator.desired.quantities import MEBIBYTE, bytes_of
from appstack_operator.desired.stateful import (
    build_account,
    build_config_map,
    build_disruption_budget,
    build_headless_service,
    build_role_service,
    build_service,
    build_stateful_set,
    container_ports,
    from_field,
    from_secret,
    memory_volume,
    pods_of,
)
from appstack_operator.desired.templates import render
from appstack_operator.objects import ROLE_LABEL, Object, content_hash, metadata

COMPONENT = "postgres"
USER_ID = 5432
REPLICATION_USER = "replicator"
PORTS = {"postgres": 5432}
PATRONI_PORT = 8008
POD_PORTS = {"postgres": 5432, "patroni": PATRONI_PORT}
# Patroni finds its pods and its ConfigMaps by this label, and the operator watches another one: the lock is
# written in every loop and must wake nobody.
PATRONI_LABEL = "appstack.dev/patroni"

QUORUM_INSTANCES = 3
# Three renewals of the lock.
EARLY_FAILOVER_SECONDS = 3

DEFAULT_REQUESTS = {"cpu": "100m", "memory": "256Mi"}
DEFAULT_LIMITS = {"cpu": "2", "memory": "1Gi"}


def build_postgres(stack: AppStack, context: Context) -> list[Object]:
    """All objects of the managed PostgreSQL."""
    return [
        *build_account(stack, COMPONENT, build_rules(stack)),
        build_config_map(stack, COMPONENT, {"patroni.yml": build_patroni_configuration(stack)}),
        build_dynamic_configuration(stack, context.parameters, context.volume_bytes.get(COMPONENT)),
        *build_services(stack),
        build_disruption_budget(stack, COMPONENT),
        build_members(stack, context),
    ]


def scope(stack: AppStack) -> str:
    """Patroni's name of the cluster: the first part of its ConfigMaps (-leader, -config, -sync, -failover)."""
    return f"{stack.name}-{COMPONENT}"


def build_rules(stack: AppStack) -> list[Object]:
    """What Patroni may do: its own ConfigMaps, and the labels of its own pods."""
    name = scope(stack)
    states = [f"{name}-{suffix}" for suffix in ("config", "failover", "leader", "sync")]
    members = pods_of(stack, COMPONENT, stack.spec.postgres.instances)
    return [
        # These verbs cannot be limited to names.
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "list", "watch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": states, "verbs": ["get", "patch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": members, "verbs": ["patch"]},
    ]


def build_services(stack: AppStack) -> list[Object]:
    """-rw follows the primary; -ro the replicas, or the primary where it is alone."""
    readers = "replica" if stack.spec.postgres.instances > 1 else "primary"
    return [
        build_headless_service(stack, COMPONENT, POD_PORTS),
        build_role_service(stack, COMPONENT, f"{scope(stack)}-rw", PORTS, "primary"),
        build_service(stack, COMPONENT, f"{scope(stack)}-ro", PORTS, {ROLE_LABEL: readers}),
    ]


def build_patroni_configuration(stack: AppStack) -> str:
    """patroni.yml: what only a restart changes."""
    return render(
        "patroni.yml.j2",
        scope=scope(stack),
        namespace=stack.namespace,
        replication_user=REPLICATION_USER,
    )


def build_dynamic_configuration(
    stack: AppStack, parameters: Parameters | None = None, volume_bytes: int | None = None
) -> Object:
    """Patroni's own ConfigMap -config: it follows this annotation while it runs, and keeps others beside it."""
    mode = stack.spec.postgres.synchronous_replication
    users = stack.spec.postgres.parameters if parameters is None else parameters.in_force
    configuration: Object = {
        **loops(stack),
        # A primary that does not come up again soon is replaced; Patroni's default would wait 300 s.
        "primary_start_timeout": 15,
        # A demoted primary's session that drops its temporary tables commits that, and waits for a standby that is cut
        # off, for ever: its server would never stop, and the member never follow. Killed, it recovers and is rewound.
        "primary_stop_timeout": 15,
        "maximum_lag_on_failover": MEBIBYTE,
        # Keeps WAL for a member whose pod is gone (scaled away, or not scheduled yet) for five minutes, not thirty.
        "member_slots_ttl": 300,
        "synchronous_mode": synchronous_mode(stack),
        "synchronous_mode_strict": mode is SynchronousReplication.REQUIRED,
        # Without the API server the primary goes on while every member answers it: an outage of the API
        # server alone ends no writes. The price: then one silent member demotes it (two faults at once).
        "failsafe_mode": True,
        "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": settings(stack, users, volume_bytes)},
    }
    if parameters is not None and parameters.proposed:
        # Patroni passes over keys that it does not know; the agents beside it read this one.
        configuration["appstack"] = {"proposed": dict(parameters.proposed)}
    meta = metadata(
        stack,
        COMPONENT,
        name=f"{scope(stack)}-config",
        annotations={"config": json.dumps(configuration, separators=(",", ":"))},
    )
    meta["labels"] |= {PATRONI_LABEL: scope(stack)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


def loops(stack: AppStack) -> dict[str, int]:
    """How often the lock is renewed, and when it expires (20 s is Patroni's minimum).

    An early failover needs a lock that is renewed every second: whoever waits for a third renewal has waited 3 s.
    """
    if is_early(stack):
        return {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}
    return {"ttl": 20, "loop_wait": 3, "retry_timeout": 5}


def is_early(stack: AppStack) -> bool:
    """Whether a failover before the lock's end can be proven safe: one standby is recorded to hold every commit."""
    return stack.spec.postgres.early_failover and synchronous_mode(stack) is True


def synchronous_mode(stack: AppStack) -> bool | str:
    """One named standby; with two of them any one will do, so that the loss of a replica holds up no commit."""
    if stack.spec.postgres.synchronous_replication is SynchronousReplication.OFF:
        return False
    return "quorum" if stack.spec.postgres.instances >= QUORUM_INSTANCES else True


def settings(stack: AppStack, users: Mapping[str, str], volume_bytes: int | None = None) -> dict[str, str]:
    """postgresql.conf: sized by memory and volume, the user's settings over the operator's."""
    return {
        "max_connections": str(DEFAULT_CONNECTIONS),
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "wal_level": "replica",
        "wal_log_hints": "on",
        "hot_standby": "on",
        # A member that went silent is noticed within seconds: commits wait for it no longer than that.
        "wal_sender_timeout": "5s",
        "wal_receiver_timeout": "5s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "password_encryption": "scram-sha-256",
        "jit": "off",  # the image has no LLVM
        **memory_settings(bytes_of(memory_limit(stack))),
        **wal_settings(volume_bytes or bytes_of(stack.spec.postgres.storage.size)),
        **users,
    }


def memory_limit(stack: AppStack) -> str:
    """What the container may use."""
    return str(stack.spec.postgres.resources.limits.get("memory", DEFAULT_LIMITS["memory"]))


def memory_settings(limit_bytes: int) -> dict[str, str]:
    """The usual quarter for shared buffers; what the kernel may cache counts too."""
    return {
        "shared_buffers": f"{max(limit_bytes // 4 // MEBIBYTE, 16)}MB",
        "effective_cache_size": f"{max(limit_bytes // 2 // MEBIBYTE, 32)}MB",
        "maintenance_work_mem": f"{max(limit_bytes // 16 // MEBIBYTE, 16)}MB",
    }


def wal_settings(volume_bytes: int) -> dict[str, str]:
    """WAL takes at most about half of the volume, however long a replica is away (its slot is dropped then).

    A lost primary that is rewound begins where the last checkpoint began that both servers know. That lies within
    `max_wal_size`, and its own crash recovery removes that WAL if it is not kept for others.
    """
    volume_megabytes = volume_bytes // MEBIBYTE
    most = f"{min(max(volume_megabytes // 10, 64), 4096)}MB"
    return {
        "max_wal_size": most,
        "min_wal_size": "64MB",
        "wal_keep_size": most,
        "max_slot_wal_keep_size": f"{max(volume_megabytes // 4, 64)}MB",
    }


def build_members(stack: AppStack, context: Context) -> Object:
    """The StatefulSet of the members."""
    volumes: list[Object] = [
        {"name": "config", "configMap": {"name": scope(stack)}},
        memory_volume("run", "1Mi"),
        memory_volume("shm", "256Mi"),  # parallel queries; a container has 64 MiB otherwise
        {"name": "tmp", "emptyDir": {}},
    ]
    pod: Object = {
        "serviceAccountName": scope(stack),
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": 120,  # a checkpoint, a switchover, a shutdown
        "containers": [build_container(stack, context)],
        "volumes": volumes,
    }
    return build_stateful_set(
        stack,
        COMPONENT,
        replicas=stack.spec.postgres.instances,
        pod=pod,
        user_id=USER_ID,
        checksum=content_hash(what_needs_a_restart(stack, context)),
        pod_labels={PATRONI_LABEL: scope(stack)},
        storage=stack.spec.postgres.storage,
    )


def what_needs_a_restart(stack: AppStack, context: Context) -> list[str]:
    """Patroni's own file, and the passwords by which members copy from and rewind to each other."""
    passwords = context.credentials
    return [build_patroni_configuration(stack), passwords.postgres_superuser, passwords.postgres_replication]


def build_container(stack: AppStack, context: Context) -> Object:
    """Patroni, which runs PostgreSQL. Alive while its loop turns, also where PostgreSQL waits or recovers."""
    return {
        "name": "postgres",
        "image": context.images.postgres,
        "imagePullPolicy": "IfNotPresent",
        "env": build_environment(stack),
        "ports": container_ports(POD_PORTS),
        "resources": resources(stack.spec.postgres.resources, requests=DEFAULT_REQUESTS, limits=DEFAULT_LIMITS),
        "securityContext": container_security(),
        # A planned stop (drain, new image, other resources) of the primary is a switchover first.
        "lifecycle": {"preStop": {"exec": {"command": ["/usr/local/lib/appstack/hand_over.py"]}}},
        # Patroni itself may take a minute to start on a starved node: killing it then only begins that anew.
        "startupProbe": http_probe("/liveness", PATRONI_PORT, period_seconds=2, failures=150),
        "livenessProbe": http_probe("/liveness", PATRONI_PORT, period_seconds=10, failures=6),
        "readinessProbe": http_probe("/readiness", PATRONI_PORT, period_seconds=3, failures=3),
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/postgresql/data"},
            {"name": "config", "mountPath": "/etc/patroni", "readOnly": True},
            {"name": "run", "mountPath": "/run/postgresql"},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a mount, not a file
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def build_environment(stack: AppStack) -> list[Object]:
    """Who this member is, and the passwords in force: an edited Secret must not reach a member that restarts."""
    record = f"{stack.name}-{RECORD}"
    return [
        from_field("POD_NAME", "metadata.name"),
        from_field("POD_IP", "status.podIP"),
        {"name": "PATRONI_NAME", "value": "$(POD_NAME)"},
        {"name": "PATRONI_SCOPE", "value": scope(stack)},
        {
            "name": "EARLY_FAILOVER_SECONDS",
            "value": str(EARLY_FAILOVER_SECONDS if stack.spec.postgres.early_failover else 0),
        },
        {"name": "PATRONI_KUBERNETES_POD_IP", "value": "$(POD_IP)"},
        {"name": "PATRONI_RESTAPI_CONNECT_ADDRESS", "value": "$(POD_IP):8008"},
        {"name": "PATRONI_POSTGRESQL_CONNECT_ADDRESS", "value": "$(POD_IP):5432"},
        {"name": "PATRONI_SUPERUSER_USERNAME", "value": "postgres"},
        from_secret("PATRONI_SUPERUSER_PASSWORD", record, "postgres_superuser"),
        {"name": "PATRONI_REPLICATION_USERNAME", "value": REPLICATION_USER},
        from_secret("PATRONI_REPLICATION_PASSWORD", record, "postgres_replication"),
        {"name": "PATRONI_RESTAPI_USERNAME", "value": "patroni"},
        from_secret("PATRONI_RESTAPI_PASSWORD", record, "postgres_rest"),
        {"name": "APP_USERNAME", "value": "app"},
        from_secret("APP_PASSWORD", record, "postgres_app"),
        {"name": "APP_DATABASE", "value": "app"},
    ]
