"""The environment of every backend container: the Secret `shop-env` and how containers refer to it. Pure."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from appstack_operator.api import AppStack, Mode
from appstack_operator.api.common import EnvVar
from appstack_operator.desired.context import Context
from appstack_operator.desired.credentials import encode
from appstack_operator.desired.references import names_from_env_from
from appstack_operator.desired.stateful import pods_of
from appstack_operator.objects import Object, content_hash, metadata

NOTHING: Mapping[str, str] = {}
# External Secrets may hold more keys than the contract knows; only these are passed on.
EXTERNAL_KEYS = {
    "postgres": ("DATABASE_URL", "DATABASE_READONLY_URL"),
    "redis": ("REDIS_URL", "REDIS_SENTINELS", "REDIS_SENTINEL_MASTER", "REDIS_PASSWORD"),
    "rabbitmq": ("RABBITMQ_URL",),
}


def connection_variables(stack: AppStack, context: Context) -> dict[str, str]:
    """Where the database, the cache and the broker are, with their passwords."""
    variables: dict[str, str] = {}
    builders = {"postgres": postgres_variables, "redis": redis_variables, "rabbitmq": rabbitmq_variables}
    modes = {
        "postgres": stack.spec.postgres.mode,
        "redis": stack.spec.redis.mode,
        "rabbitmq": stack.spec.rabbitmq.mode,
    }
    for component, build in builders.items():
        if modes[component] is Mode.EXTERNAL:
            given = context.external.get(component, {})
            variables |= {key: given[key] for key in EXTERNAL_KEYS[component] if key in given}
        else:
            variables |= build(stack, context)
    variables.setdefault("DATABASE_READONLY_URL", variables.get("DATABASE_URL", ""))
    return variables


def postgres_variables(stack: AppStack, context: Context) -> dict[str, str]:
    """Through the pooler if there is one; reads go to the replicas."""
    password = quote(context.credentials.postgres_app, safe="")
    services = postgres_services(stack, context)
    hosts = [context.host(services[use], stack.namespace) for use in ("writes", "reads")]
    writes, reads = (f"postgresql://app:{password}@{host}:5432/app" for host in hosts)
    return {"DATABASE_URL": writes, "DATABASE_READONLY_URL": reads}


def postgres_services(stack: AppStack, context: Context) -> dict[str, str]:
    """What for -> the Service; migrations go past the pooler."""
    name = f"{stack.name}-postgres"
    is_pooled = stack.spec.postgres.pooler.enabled and context.pooler_is_door
    return {
        "writes": f"{name}-pooler" if is_pooled else f"{name}-rw",
        "reads": f"{name}-ro",
        "migrations": f"{name}-rw",
    }


def redis_variables(stack: AppStack, context: Context) -> dict[str, str]:
    """The Sentinels one by one, so that a client can ask the others when one is gone; and the master's Service."""
    password = context.credentials.redis
    *sentinels, master = (context.host(service, stack.namespace) for service in redis_services(stack))
    return {
        "REDIS_SENTINELS": ",".join(f"{host}:26379" for host in sentinels),
        "REDIS_SENTINEL_MASTER": f"{stack.namespace}.{stack.name}",
        "REDIS_PASSWORD": password,
        "REDIS_URL": f"redis://:{quote(password, safe='')}@{master}:6379/0",
    }


def redis_services(stack: AppStack) -> list[str]:
    """Each Sentinel's own Service, which is known without DNS, and the master's."""
    return [*pods_of(stack, "redis-sentinel", stack.spec.redis.sentinels), f"{stack.name}-redis-rw"]


def rabbitmq_variables(stack: AppStack, context: Context) -> dict[str, str]:
    """The broker's Service: any node will do."""
    host = context.host(f"{stack.name}-rabbitmq", stack.namespace)
    return {"RABBITMQ_URL": f"amqp://app:{quote(context.credentials.rabbitmq, safe='')}@{host}:5672/%2F"}


def hosts_of(stack: AppStack, context: Context) -> dict[str, str]:
    """The hosts that the backend's pods are told of, as far as they are Services of the stack: name -> Service."""
    spec = stack.spec
    services = [
        *(postgres_services(stack, context).values() if spec.postgres.mode is Mode.MANAGED else ()),
        *(redis_services(stack) if spec.redis.mode is Mode.MANAGED else ()),
        *([f"{stack.name}-rabbitmq"] if spec.rabbitmq.mode is Mode.MANAGED else ()),
    ]
    return {context.host(service, stack.namespace): service for service in services}


def build_environment(stack: AppStack, context: Context) -> Object:
    """The Secret that every backend container reads."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(stack, "env"),
        "type": "Opaque",
        "data": encode(connection_variables(stack, context)),
    }


def environment_checksum(stack: AppStack, context: Context) -> str:
    """Changes when what the containers are given changes: as a pod annotation it restarts the pods."""
    given = connection_variables(stack, context)
    if stack.spec.backend.image is None:
        given["API_ADMIN_TOKEN"] = context.credentials.api_token
    return content_hash(given)


def container_environment(
    stack: AppStack, context: Context, component: str, own: Sequence[EnvVar] = (), more: Mapping[str, str] = NOTHING
) -> list[Object]:
    """The `env` of a container: the contract's names, then the user's, who wins.

    Written out name by name, not as envFrom: only then $(DATABASE_URL) expands in the user's values.
    """
    variables: dict[str, Object] = {
        key: from_secret(key, f"{stack.name}-env", key) for key in connection_variables(stack, context)
    }
    fields: Mapping[str, str] = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    variables |= {
        name: {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in fields.items()
    }
    texts = {"APPSTACK_NAME": stack.name, "APPSTACK_COMPONENT": component, **more}
    variables |= {name: {"name": name, "value": value} for name, value in texts.items()}
    if stack.spec.backend.image is None:
        variables["API_ADMIN_TOKEN"] = from_secret("API_ADMIN_TOKEN", f"{stack.name}-api-token", "token")
    for name in names_from_env_from(stack, context.references):
        variables.pop(name, None)  # a name in `env` would win over the user's envFrom
    users = {item.name: item.manifest() for item in (*stack.spec.backend.env, *own)}
    return [entry for name, entry in variables.items() if name not in users] + list(users.values())


def from_secret(name: str, secret: str, key: str) -> Object:
    """A variable whose value is a key of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
