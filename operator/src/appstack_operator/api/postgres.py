"""spec.postgres: a PostgreSQL primary with replicas under Patroni, or an external database."""

from enum import StrEnum

from pydantic import ConfigDict, Field

from appstack_operator.api.base import ApiModel, cel
from appstack_operator.api.common import (
    EXTERNAL_IS_NAMED,
    WITHIN_LIMITS,
    DataService,
    External,
    Resources,
    Setting,
    Storage,
    VolumeSize,
)

# Replication, failover and the files of an instance are the operator's and Patroni's: a wrong value here
# loses data or splits the cluster, so these are refused by name.
OWNED_PARAMETERS = (
    "archive_cleanup_command",
    "archive_mode",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "fsync",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "restart_after_crash",
    "restore_command",
    "synchronous_commit",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
    "wal_receiver_timeout",
    "wal_sender_timeout",
)


def not_owned(name: str) -> tuple[str, str]:
    """A rule of its own for each name: the sentence names it, and the API server finds it cheap enough."""
    return (
        f"!('{name}' in self)",
        (
            f"parameters.{name} is the operator's: replication, durability, files and addresses cannot be set here; "
            "remove it"
        ),
    )


SETTINGS_ARE_NAMED = (
    "self.all(name, name.matches('^[a-z_][a-z0-9_]*([.][a-z_][a-z0-9_]*)?$'))",
    "parameters: names of settings are written in lower case, as in pg_settings",
)
REPLICAS_TO_WAIT_FOR = (
    (
        "!has(self.synchronousReplication) || self.synchronousReplication != 'Required' || "
        "!has(self.instances) || self.instances > 1"
    ),
    (
        "synchronousReplication Required needs 2 instances or more: with one, every write would wait for a replica "
        "that does not exist"
    ),
)


class SynchronousReplication(StrEnum):
    """When a commit waits for a replica."""

    OFF = "Off"
    PREFERRED = "Preferred"
    REQUIRED = "Required"


class PoolMode(StrEnum):
    """When pgbouncer gives a server connection to another client."""

    SESSION = "session"
    TRANSACTION = "transaction"


class Pooler(ApiModel):
    """A PgBouncer in front of the primary."""

    enabled: bool = Field(
        default=False,
        description="Whether the pooler runs; DATABASE_URL then goes through it, but in migrations.",
    )
    replicas: int = Field(default=2, ge=1, le=10, description="Number of pooler pods.")
    pool_mode: PoolMode = Field(
        default=PoolMode.TRANSACTION,
        description=(
            "When a connection to the server changes its client. transaction: no SET, LISTEN or session-wide lock "
            "outlives its transaction; session: they do, and each client occupies a connection."
        ),
    )


class PostgresStorage(Storage):
    """The volume of each PostgreSQL instance."""

    size: VolumeSize = "10Gi"


class Postgres(DataService):
    """The database of the stack."""

    model_config = ConfigDict(json_schema_extra=cel(EXTERNAL_IS_NAMED, REPLICAS_TO_WAIT_FOR))

    instances: int = Field(default=2, ge=1, le=5, description="Number of instances: one primary, the others replicas.")
    synchronous_replication: SynchronousReplication = Field(
        default=SynchronousReplication.PREFERRED,
        description=(
            "Off: commits never wait for a replica. Preferred: they wait while one is connected. "
            "Required: without a replica, writes wait."
        ),
    )
    early_failover: bool = Field(
        default=True,
        description=(
            "Whether a lost primary is replaced before its lock expires: writes go on within 8 s instead of 25 s, for "
            "60 writes a minute to the API server instead of 20. It acts where one synchronous standby is recorded, so "
            "not with synchronousReplication Off, and not with three instances or more, which commit by quorum."
        ),
    )
    storage: PostgresStorage = Field(default=PostgresStorage(), description="The volume of each instance.")
    parameters: dict[str, Setting] = Field(
        default={},
        max_length=100,
        description="Settings of postgresql.conf. Those that the operator owns are refused.",
        json_schema_extra=cel(SETTINGS_ARE_NAMED, *(not_owned(name) for name in OWNED_PARAMETERS)),
    )
    resources: Resources = Field(
        default=Resources(),
        description="Requests and limits of a PostgreSQL container.",
        json_schema_extra=WITHIN_LIMITS,
    )
    pooler: Pooler = Field(default=Pooler(), description="PgBouncer in front of the primary.")
    external: External | None = Field(
        default=None,
        description="With mode External: Secret with DATABASE_URL and optionally DATABASE_READONLY_URL.",
    )
