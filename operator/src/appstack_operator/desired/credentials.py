"""The Secrets with passwords: generated once, never overwritten, without an owner so that they can outlive a stack."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from appstack_operator.api import AppStack, Mode
from appstack_operator.desired.context import RECORD, Context, Credentials
from appstack_operator.objects import FIELD_MANAGER, STACK_LABEL, Object, component_of, is_claim_of, metadata
from appstack_operator.observed import Observed

# Field of Credentials -> (Secret's last name part, its key).
PLACES: Mapping[str, tuple[str, str]] = {
    "postgres_app": ("postgres-app", "password"),
    "postgres_superuser": ("postgres-superuser", "password"),
    "postgres_replication": ("postgres-replication", "password"),
    "postgres_rest": ("postgres-rest", "password"),
    "redis": ("redis-auth", "password"),
    "rabbitmq": ("rabbitmq-auth", "password"),
    "rabbitmq_erlang_cookie": ("rabbitmq-auth", "erlang-cookie"),
    "api_token": ("api-token", "token"),
}
# What has a meaning of its own in rabbitmq.conf.
RABBITMQ_SYNTAX = "#'\"\\"
# Their users are data: who opens such a volume with another password than it was first given is not let in.
ON_VOLUMES = ("postgres", "rabbitmq")
CONTROLLERS = "kube-controller-manager"  # as they call themselves in managedFields


def names_of_credentials(stack: AppStack) -> list[str]:
    """The Secrets with passwords that a stack may have, the operator's own copy among them."""
    return sorted({f"{stack.name}-{last_name}" for last_name in (RECORD, *(place[0] for place in PLACES.values()))})


def names_in_use(stack: AppStack) -> list[str]:
    """Those of them that this spec asks for: see `build_credentials`."""
    parts = managed_services(stack) | ({"api"} if stack.spec.backend.image is None else set())
    used = (last_name for field, (last_name, _) in PLACES.items() if service_of(field) in parts)
    return sorted({f"{stack.name}-{last_name}" for last_name in (RECORD, *used)})


def encode(data: Mapping[str, str]) -> dict[str, str]:
    """The data of a Secret as the API server keeps it."""
    return {key: base64.b64encode(value.encode()).decode() for key, value in sorted(data.items())}


def decode(secret: Object) -> dict[str, str]:
    """The data of a Secret as people read it."""
    data = secret.get("data") or {}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def known_credentials(stack: AppStack, seen: Observed, fresh: Credentials) -> Credentials:
    """What the services were last given: the record's password, else the Secret's if it can be used, else the fresh."""
    recorded, given = recorded_credentials(stack, seen), usable(stack, seen, given_credentials(stack, seen))
    return Credentials(**{name: recorded.get(name) or given.get(name) or getattr(fresh, name) for name in PLACES})


def recorded_credentials(stack: AppStack, seen: Observed) -> dict[str, str]:
    """The operator's own copy of what is in force: it outlives an edited or deleted Secret.

    What somebody else wrote into the copy is not what a service was given: there its Secret counts, and the copy is
    put right.
    """
    record = seen.get("Secret", f"{stack.name}-{RECORD}")
    if not record:
        return {}
    foreign = keys_of_others(record)
    return {field: value for field, value in decode(record).items() if field in PLACES and field not in foreign}


def lost_credentials(stack: AppStack, seen: Observed) -> frozenset[str]:
    """Fields that a service was given, and that neither its Secret nor the operator's copy holds any more.

    Passwords that were made up in their place would open nothing, and lock out whoever is given them.
    """
    known = recorded_credentials(stack, seen).keys() | given_credentials(stack, seen).keys()
    given = {name for name in managed_services(stack) if was_given_its_passwords(name, stack, seen)}
    return frozenset(field for field in PLACES if field not in known and service_of(field) in given)


def managed_services(stack: AppStack) -> set[str]:
    """The data services that the operator runs."""
    spec = stack.spec
    modes = {"postgres": spec.postgres.mode, "redis": spec.redis.mode, "rabbitmq": spec.rabbitmq.mode}
    return {name for name, mode in modes.items() if mode is Mode.MANAGED}


def was_given_its_passwords(component: str, stack: AppStack, seen: Observed) -> bool:
    """Whether it was begun, or left its data.

    Pods alone tell nothing: those of a former stack of this name may still be on their way out. Nor does a claim that
    somebody made for the stack: it may as well be empty.
    """
    config = seen.get("ConfigMap", f"{stack.name}-postgres-config") if component == "postgres" else None
    notes = (config or {}).get("metadata", {}).get("annotations") or {}
    has_database = bool(notes.get("initialize"))  # Patroni's
    has_volume = component in ON_VOLUMES and any(
        component_of(claim) == component and is_claim_of(stack, claim) and is_of_controllers(claim)
        for claim in seen.of_kind("PersistentVolumeClaim")
    )
    return has_database or has_volume or seen.get("StatefulSet", f"{stack.name}-{component}") is not None


def is_of_controllers(claim: Object) -> bool:
    """Whether a claim was labelled as it was made for a pod, not by somebody who gives it to a stack to come.

    One that is on its way out is waited for by whatever comes, and holds nothing for it.
    """
    if "deletionTimestamp" in claim["metadata"]:
        return False
    for entry in claim["metadata"].get("managedFields") or []:
        labels = (entry.get("fieldsV1") or {}).get("f:metadata", {}).get("f:labels") or {}
        if entry.get("manager") == CONTROLLERS and f"f:{STACK_LABEL}" in labels:
            return True
    return False


def service_of(field: str) -> str:
    """The component that a password belongs to."""
    return PLACES[field][0].partition("-")[0]


def rests_on(fields: Iterable[str], manifest: Object) -> bool:
    """Whether an object holds one of these passwords, or runs a service that was given one."""
    if manifest["kind"] == "Secret":
        return any(manifest["metadata"]["name"].endswith(f"-{PLACES[field][0]}") for field in fields)
    is_workload = manifest["kind"] in ("StatefulSet", "Deployment")
    return is_workload and component_of(manifest).startswith(tuple(map(service_of, fields)))


def keys_of_others(secret: Object) -> set[str]:
    """The keys of a Secret that somebody else wrote last."""
    entries = secret["metadata"].get("managedFields") or []
    keys = {"ours": set[str](), "others": set[str]()}
    for entry in entries:
        whose = "ours" if entry.get("manager") == FIELD_MANAGER else "others"
        data = (entry.get("fieldsV1") or {}).get("f:data") or {}
        keys[whose] |= {name.removeprefix("f:") for name in data if name.startswith("f:")}
    return keys["others"] - keys["ours"]


def given_credentials(stack: AppStack, seen: Observed) -> dict[str, str]:
    """What the Secrets hold that people see and edit; an empty password is none."""
    given = {}
    for field, (last_name, key) in PLACES.items():
        secret = seen.get("Secret", f"{stack.name}-{last_name}")
        if secret and (value := decode(secret).get(key)):
            given[field] = value
    return given


def edited_credentials(stack: AppStack, seen: Observed, in_force: Credentials) -> dict[str, str]:
    """Field -> the other password that somebody wrote into its Secret."""
    given = given_credentials(stack, seen)
    return {field: value for field, value in given.items() if value != getattr(in_force, field)}


def usable_edits(stack: AppStack, seen: Observed, in_force: Credentials) -> dict[str, str]:
    """Field -> the edited password that the service can be given."""
    edited = edited_credentials(stack, seen, in_force)
    return {field: value for field, value in edited.items() if not what_is_wrong(field, value)}


def usable(stack: AppStack, seen: Observed, given: Mapping[str, str]) -> dict[str, str]:
    """What of it a service can be given; one that exists was given its password before these rules were."""
    return {
        field: value
        for field, value in given.items()
        if not what_is_wrong(field, value)
        or seen.get("StatefulSet", f"{stack.name}-{PLACES[field][0].partition('-')[0]}")
    }


def what_is_wrong(field: str, value: str) -> str:
    """Why a service cannot be given this password; empty where it can.

    Services read it from files of lines: PostgreSQL's clients from pgpass, RabbitMQ from its configuration.
    """
    if field == "api_token":  # no service's
        return ""
    if not (value.isascii() and value.isprintable()):
        return (
            "it holds a line break or another character outside printable ASCII "
            "(kubectl create secret --from-file keeps the newline at a file's end)"
        )
    if value != value.strip():
        return "it begins or ends with a blank"
    if field == "rabbitmq" and set(value) & set(RABBITMQ_SYNTAX):
        return "RabbitMQ's configuration cannot hold # ' \" \\"
    return ""


def build_credentials(stack: AppStack, context: Context) -> list[Object]:
    """The Secrets of all services that the operator runs, and the first API token of the bundled image."""
    secrets: list[Object] = []
    if stack.spec.postgres.mode is Mode.MANAGED:
        secrets += build_postgres_secrets(stack, context)
    if stack.spec.redis.mode is Mode.MANAGED:
        secrets.append(build_secret(stack, "redis", "redis-auth", {"password": context.credentials.redis}))
    if stack.spec.rabbitmq.mode is Mode.MANAGED:
        secrets.append(build_rabbitmq_secret(stack, context))
    if stack.spec.backend.image is None:
        secrets.append(build_secret(stack, "api", "api-token", {"token": context.credentials.api_token}))
    return secrets


def build_record(stack: AppStack, context: Context, secrets: Sequence[Object]) -> list[Object]:
    """The operator's copy of the passwords in those Secrets, as they are in force."""
    names = {secret["metadata"]["name"] for secret in secrets}
    data = {
        field: getattr(context.credentials, field)
        for field, (last_name, _) in PLACES.items()
        if f"{stack.name}-{last_name}" in names and field not in context.lost
    }
    return [build_secret(stack, RECORD, RECORD, data)] if data else []


def build_postgres_secrets(stack: AppStack, context: Context) -> list[Object]:
    """The roles of the database and of Patroni's REST API."""
    passwords = context.credentials
    host = context.host(f"{stack.name}-postgres-rw", stack.namespace)
    app = {
        "username": "app",
        "password": passwords.postgres_app,
        "dbname": "app",
        "host": host,
        "port": "5432",
        "uri": f"postgresql://app:{quote(passwords.postgres_app, safe='')}@{host}:5432/app",
    }
    roles = {
        "postgres-app": app,
        "postgres-superuser": {"username": "postgres", "password": passwords.postgres_superuser},
        "postgres-replication": {"username": "replicator", "password": passwords.postgres_replication},
        "postgres-rest": {"username": "patroni", "password": passwords.postgres_rest},
    }
    return [build_secret(stack, "postgres", last_name, data) for last_name, data in roles.items()]


def build_rabbitmq_secret(stack: AppStack, context: Context) -> Object:
    """The user of the broker, and the cookie by which its nodes know each other."""
    password = context.credentials.rabbitmq
    host = context.host(f"{stack.name}-rabbitmq", stack.namespace)
    data = {
        "username": "app",
        "password": password,
        "erlang-cookie": context.credentials.rabbitmq_erlang_cookie,
        "host": host,
        "port": "5672",
        "uri": f"amqp://app:{quote(password, safe='')}@{host}:5672/%2F",
    }
    return build_secret(stack, "rabbitmq", "rabbitmq-auth", data)


def build_secret(stack: AppStack, component: str, last_name: str, data: Mapping[str, str]) -> Object:
    """A Secret that survives the stack: what it opens (a volume) may survive too."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(stack, component, name=f"{stack.name}-{last_name}", owned=False),
        "type": "Opaque",
        "data": encode(data),
    }
