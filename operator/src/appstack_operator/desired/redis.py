"""What Redis of a stack should look like: members and Sentinels that need no DNS and no operator. Pure."""

import json

from appstack_operator.api import AppStack
from appstack_operator.desired.context import RECORD, Context
from appstack_operator.desired.pods import container_security, http_probe, resources
from appstack_operator.desired.quantities import MEBIBYTE, bytes_of, mebibytes
from appstack_operator.desired.stateful import (
    build_account,
    build_config_map,
    build_disruption_budget,
    build_headless_service,
    build_pod_service,
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
from appstack_operator.objects import Object, content_hash, selector

COMPONENT = "redis"
SENTINEL = "redis-sentinel"
USER_ID = 6379
PORTS = {"redis": 6379}
KEEPER_PORT = 6380
POD_PORTS = {"redis": 6379, "keeper": KEEPER_PORT}
SENTINEL_PORTS = {"sentinel": 26379}

# In a failover all writes wait for Sentinel and the agent beside it; with less, these wait for a processor.
SENTINEL_REQUESTS = {"cpu": "50m", "memory": "32Mi"}
SENTINEL_LIMITS = {"cpu": "500m", "memory": "128Mi"}


def build_redis(stack: AppStack, context: Context) -> list[Object]:
    """All objects of the managed Redis. The pods come once their Services have addresses to announce."""
    objects = [
        *build_account(stack, SENTINEL, build_rules(stack)),
        build_config_map(stack, COMPONENT, build_configuration(stack, context)),
        *build_services(stack),
        build_disruption_budget(stack, COMPONENT),
        build_disruption_budget(stack, SENTINEL),
    ]
    if all(service in context.addresses for service in announced_services(stack)):
        objects += [build_members(stack, context), build_sentinels(stack, context)]
    return objects


def master_name(stack: AppStack) -> str:
    """What the Sentinels call the master: the same in no other stack, so that groups cannot merge."""
    return f"{stack.namespace}.{stack.name}"


def members_of(stack: AppStack) -> list[str]:
    """The Redis pods."""
    return pods_of(stack, COMPONENT, stack.spec.redis.replicas)


def sentinels_of(stack: AppStack) -> list[str]:
    """The Sentinel pods."""
    return pods_of(stack, SENTINEL, stack.spec.redis.sentinels)


def announced_services(stack: AppStack) -> list[str]:
    """The Services whose addresses are announced: each has the name of its pod."""
    return [*members_of(stack), *sentinels_of(stack)]


def min_replicas(stack: AppStack) -> int:
    """Replicas without which a master takes no writes: half of the group, with it most; none where it is alone by wish.

    With fewer, a cut-off master that has a replica beside it would go on for the whole cut.
    """
    return stack.spec.redis.replicas // 2


def build_rules(stack: AppStack) -> list[Object]:
    """What the agents beside the Sentinels may do: look at pods, label the Redis pods."""
    return [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": members_of(stack), "verbs": ["patch"]},
    ]


def build_services(stack: AppStack) -> list[Object]:
    """The master for clients without Sentinel, the Sentinels, and one address for each pod."""
    return [
        build_role_service(stack, COMPONENT, f"{stack.name}-redis-rw", PORTS, "master"),
        build_service(stack, SENTINEL, f"{stack.name}-redis-sentinel", SENTINEL_PORTS),
        build_headless_service(stack, COMPONENT, POD_PORTS),
        build_headless_service(stack, SENTINEL, SENTINEL_PORTS),
        *(build_pod_service(stack, COMPONENT, pod, POD_PORTS) for pod in members_of(stack)),
        *(build_pod_service(stack, SENTINEL, pod, SENTINEL_PORTS) for pod in sentinels_of(stack)),
    ]


def build_configuration(stack: AppStack, context: Context) -> dict[str, str]:
    """The files of the keepers. members.json is read anew each time: a larger group needs no restart."""
    members = {
        "masterName": master_name(stack),
        "minReplicas": min_replicas(stack),
        "redis": {pod: context.addresses[pod] for pod in members_of(stack) if pod in context.addresses},
        "sentinels": {pod: context.addresses[pod] for pod in sentinels_of(stack) if pod in context.addresses},
    }
    return {
        "members.json": json.dumps(members, indent=2) + "\n",
        "redis.conf": build_redis_conf(stack),
        "sentinel.conf": render("sentinel.conf.j2", master_name=master_name(stack)),
    }


def build_redis_conf(stack: AppStack) -> str:
    """redis.conf, without what is a pod's own."""
    redis = stack.spec.redis
    return render(
        "redis.conf.j2",
        max_memory_bytes=bytes_of(redis.max_memory),
        max_memory_policy=redis.max_memory_policy.value,
        # What a larger group needs more is set by the keepers, from members.json: no member restarts for it.
        min_replicas=min(min_replicas(stack), 1),
    )


def build_members(stack: AppStack, context: Context) -> Object:
    """The StatefulSet of the Redis servers."""
    pod: Object = {
        "automountServiceAccountToken": False,
        # Handing over takes 1 s; this is the most that a stubborn Sentinel and a long save may take.
        "terminationGracePeriodSeconds": 30,
        "containers": [build_member_container(stack, context)],
        "volumes": [
            {"name": "config", "configMap": {"name": f"{stack.name}-redis"}},
            memory_volume("run", "1Mi"),
        ],
    }
    return build_stateful_set(
        stack,
        COMPONENT,
        replicas=stack.spec.redis.replicas,
        pod=pod,
        user_id=USER_ID,
        checksum=content_hash(build_redis_conf(stack)),
        storage=stack.spec.redis.storage,
    )


def build_member_container(stack: AppStack, context: Context) -> Object:
    """Redis under its keeper, whose probes know a member that waits on purpose from one that is dead."""
    data_bytes = bytes_of(stack.spec.redis.max_memory)
    requests = {"cpu": "50m", "memory": mebibytes(data_bytes // 4 + 64 * MEBIBYTE)}
    # Rewriting the append-only file copies changed pages: at worst the data twice.
    limits = {"cpu": "1", "memory": mebibytes(2 * data_bytes + 128 * MEBIBYTE)}
    return {
        "name": "redis",
        "image": context.images.redis,
        "imagePullPolicy": "IfNotPresent",
        "args": ["server"],
        "env": build_environment(stack),
        "ports": container_ports(POD_PORTS),
        "resources": resources(stack.spec.redis.resources, requests=requests, limits=limits),
        "securityContext": container_security(),
        # Sentinel replaces a dead master; a probe that restarts slow members of a busy machine only makes it busier.
        "livenessProbe": http_probe("/livez", KEEPER_PORT, period_seconds=10, timeout_seconds=5, failures=6),
        "readinessProbe": http_probe("/readyz", KEEPER_PORT, period_seconds=2, timeout_seconds=2, failures=3),
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/redis"},
            {"name": "config", "mountPath": "/etc/appstack", "readOnly": True},
            {"name": "run", "mountPath": "/run/redis"},
        ],
    }


def build_sentinels(stack: AppStack, context: Context) -> Object:
    """The StatefulSet of the Sentinels, each with the agent that keeps the role labels."""
    pod: Object = {
        "serviceAccountName": f"{stack.name}-redis-sentinel",
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": 10,
        "containers": [build_sentinel_container(stack, context), build_roles_container(stack, context)],
        "volumes": [
            {"name": "config", "configMap": {"name": f"{stack.name}-redis"}},
            # What a Sentinel knows is soon learnt again; its identity is its pod's name.
            {"name": "state", "emptyDir": {"sizeLimit": "10Mi"}},
        ],
    }
    return build_stateful_set(
        stack,
        SENTINEL,
        replicas=stack.spec.redis.sentinels,
        pod=pod,
        user_id=USER_ID,
        # A Sentinel takes its quorum from their number when it starts.
        checksum=content_hash([build_configuration(stack, context)["sentinel.conf"], stack.spec.redis.sentinels]),
    )


def build_sentinel_container(stack: AppStack, context: Context) -> Object:
    """Sentinel itself; until a master exists it waits, not ready and alive."""
    probe = {"tcpSocket": {"port": SENTINEL_PORTS["sentinel"]}, "periodSeconds": 2, "timeoutSeconds": 2}
    return {
        "name": "sentinel",
        "image": context.images.redis,
        "imagePullPolicy": "IfNotPresent",
        "args": ["sentinel"],
        "env": build_environment(stack),
        "ports": container_ports(SENTINEL_PORTS),
        "resources": {"requests": dict(SENTINEL_REQUESTS), "limits": dict(SENTINEL_LIMITS)},
        "securityContext": container_security(),
        "readinessProbe": {**probe, "failureThreshold": 3},
        # A drain takes the master along, which asks this one to have another promoted, perhaps: that takes a second.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/appstack", "readOnly": True},
            {"name": "state", "mountPath": "/var/lib/redis"},
        ],
    }


def build_roles_container(stack: AppStack, context: Context) -> Object:
    """The agent that moves the label `appstack.dev/role`, and with it `shop-redis-rw`, after a failover."""
    chosen = ",".join(f"{key}={value}" for key, value in selector(stack, COMPONENT).items())
    return {
        "name": "roles",
        "image": context.images.redis,
        "imagePullPolicy": "IfNotPresent",
        "args": ["roles"],
        "env": [*build_environment(stack), {"name": "REDIS_SELECTOR", "value": chosen}],
        "resources": {"requests": dict(SENTINEL_REQUESTS), "limits": dict(SENTINEL_LIMITS)},
        "securityContext": container_security(),
        "volumeMounts": [{"name": "config", "mountPath": "/etc/appstack", "readOnly": True}],
    }


def build_environment(stack: AppStack) -> list[Object]:
    """Who this pod is, and the password."""
    return [
        from_field("POD_NAME", "metadata.name"),
        from_secret("REDIS_PASSWORD", f"{stack.name}-{RECORD}", "redis"),
    ]
