"""What the builders need to know beside the stack itself: images, passwords, addresses. Frozen, no IO."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Last name part of the Secret with the operator's copy of all passwords in force: what the services' pods read.
RECORD = "credentials"


@dataclass(frozen=True, slots=True)
class Images:
    """The bundled images that this operator was configured with."""

    backend: str
    postgres: str
    redis: str
    rabbitmq: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """Passwords of one stack: observed in its Secrets, or freshly generated for Secrets still to be made."""

    postgres_app: str  # role `app`, Secret shop-postgres-app
    postgres_superuser: str  # role `postgres`, Secret shop-postgres-superuser
    postgres_replication: str  # role `replicator`, Secret shop-postgres-replication
    postgres_rest: str  # Patroni's REST API (user `patroni`), Secret shop-postgres-rest
    redis: str  # Redis and its Sentinels, Secret shop-redis-auth
    rabbitmq: str  # user `app`, Secret shop-rabbitmq-auth
    rabbitmq_erlang_cookie: str
    api_token: str  # the first admin token of the bundled backend, Secret shop-api-token


@dataclass(frozen=True, slots=True)
class Parameters:
    """The user's settings of PostgreSQL; all but `refused`, which says why, map names to values."""

    in_force: Mapping[str, str] = field(default_factory=dict)
    proposed: Mapping[str, str] = field(default_factory=dict)  # not looked at yet, or refused
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a builder may use beside the stack."""

    images: Images
    credentials: Credentials
    # Name of a Service (shop-redis-0) -> its ClusterIP as observed; empty until it was created.
    addresses: Mapping[str, str] = field(default_factory=dict)
    # Component (postgres, redis, rabbitmq) -> the decoded data of its external Secret.
    external: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # (kind, name) -> the content of what the user's env and envFrom name; None where that is missing.
    references: Mapping[tuple[str, str], Mapping[str, str] | None] = field(default_factory=dict)
    # Pool of workers -> how many of them its backlog asks for now.
    worker_replicas: Mapping[str, int] = field(default_factory=dict)
    api_is_at_zero: bool = False  # no API pod is asked for by now, by the spec of before or by somebody
    parameters: Parameters | None = None  # None: nothing is known of a database, all of the spec's are taken
    # Component -> bytes of its smallest volume as it is, which the spec's size may be ahead of; unknown: it is not.
    volume_bytes: Mapping[str, int] = field(default_factory=dict)
    pooler_is_door: bool = True  # where there is a pooler: the backend's writes go through it by now
    # Field of an edited password -> why it is not set for now.
    waiting_edits: Mapping[str, str] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()  # fields of passwords that services hold and nobody else knows
    operator_namespace: str = ""  # whose pods ask the services; empty: not known
    cluster_domain: str = "cluster.local"

    def host(self, service: str, namespace: str) -> str:
        """The full DNS name of a Service: resolved in one query with the ndots that our pods have."""
        return f"{service}.{namespace}.svc.{self.cluster_domain}"
