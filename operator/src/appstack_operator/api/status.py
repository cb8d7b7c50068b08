"""status of an AppStack: what the operator saw and concluded in its last pass."""

from enum import StrEnum

from pydantic import Field

from appstack_operator.api.base import ApiModel


class Condition(ApiModel):
    """One verdict about the stack."""

    type: str = Field(max_length=316, description="What the verdict is about, for example PostgresReady.")
    status: str = Field(description="True, False or Unknown.", json_schema_extra={"enum": ["True", "False", "Unknown"]})
    reason: str = Field(min_length=1, max_length=1024, description="Why, in one word; each has a runbook page.")
    message: str = Field(max_length=32768, description="Why, in a sentence that names the object and the cause.")
    last_transition_time: str = Field(
        description="When the status changed last.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that the verdict is about.")


class PostgresStatus(ApiModel):
    """What PostgreSQL looks like."""

    primary: str | None = Field(default=None, description="Pod of the primary.")
    instances: int = Field(default=0, description="Instances that are wanted.")
    ready_instances: int = Field(default=0, description="Instances that are ready.")
    sync_standbys: list[str] = Field(default=[], description="Replicas that hold every acknowledged commit.")
    timeline: int | None = Field(default=None, description="Timeline of the primary: it grows with each failover.")


class RedisStatus(ApiModel):
    """What Redis looks like."""

    master: str | None = Field(default=None, description="Pod of the master.")
    replicas: int = Field(default=0, description="Instances that are wanted.")
    ready_replicas: int = Field(default=0, description="Instances that are ready.")
    sentinels: int = Field(default=0, description="Sentinels that are ready.")


class RabbitmqStatus(ApiModel):
    """What RabbitMQ looks like."""

    replicas: int = Field(default=0, description="Nodes that are wanted.")
    ready_replicas: int = Field(default=0, description="Nodes that are ready.")
    running_nodes: int = Field(default=0, description="Nodes that the cluster itself counts as running.")


class MigrationState(StrEnum):
    """How far the migration of the wanted image is."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class MigrationsStatus(ApiModel):
    """The migration of the wanted image."""

    image: str = Field(default="", description="Image whose migration this is.")
    state: MigrationState = Field(default=MigrationState.PENDING, description="How far it is.")
    job: str | None = Field(default=None, description="Its Job.")


class ApiStatus(ApiModel):
    """What the API looks like."""

    replicas: int = Field(default=0, description="Pods that exist.")
    ready_replicas: int = Field(default=0, description="Pods that are ready.")
    image: str = Field(default="", description="Image that the pods are to run.")
    selector: str = Field(default="", description="Label selector of the pods, for the scale subresource.")


class WorkerStatus(ApiModel):
    """What one worker pool looks like."""

    name: str = Field(description="Name of the pool.")
    replicas: int = Field(default=0, description="Pods that exist.")
    ready_replicas: int = Field(default=0, description="Pods that are ready.")
    backlog: int | None = Field(default=None, description="Ready + unacknowledged messages; absent while unreadable.")


class SummaryStatus(ApiModel):
    """Short texts for the columns of kubectl get."""

    api: str = Field(default="", description="Ready and wanted API pods: 2/2.")
    workers: str = Field(default="", description="Ready and wanted workers of all pools: 4/4.")
    reason: str = Field(default="", description="The worst thing to know now, in one word; Healthy if none.")
    message: str = Field(default="", description="The same in a sentence.")


class CronJobStatus(ApiModel):
    """When a scheduled job ran last."""

    name: str = Field(description="Name of the job.")
    last_schedule_time: str | None = Field(
        default=None, description="When it was started last.", json_schema_extra={"format": "date-time"}
    )
    last_successful_time: str | None = Field(
        default=None, description="When it succeeded last.", json_schema_extra={"format": "date-time"}
    )


class AppStackStatus(ApiModel):
    """What the operator saw and concluded."""

    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that was seen last.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=50,
        description="Verdicts, one per type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    postgres: PostgresStatus | None = Field(default=None, description="PostgreSQL.")
    redis: RedisStatus | None = Field(default=None, description="Redis.")
    rabbitmq: RabbitmqStatus | None = Field(default=None, description="RabbitMQ.")
    migrations: MigrationsStatus | None = Field(default=None, description="The migration of the wanted image.")
    api: ApiStatus | None = Field(default=None, description="The API.")
    workers: list[WorkerStatus] = Field(default=[], description="The worker pools.")
    summary: SummaryStatus | None = Field(default=None, description="Short texts for columns.")
    cron_jobs: list[CronJobStatus] = Field(default=[], description="The scheduled jobs.")
