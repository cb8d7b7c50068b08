"""spec.backend and spec.cronJobs: the user's own code, in whichever 12-factor image."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from appstack_operator.api.base import DNS_LABEL, ApiModel, cel
from appstack_operator.api.common import (
    WITHIN_LIMITS,
    Arguments,
    EnvVar,
    ImagePullSecret,
    PullPolicy,
    Resources,
    VariablesSource,
)

QueueName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:-]+$")]
BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
HttpPath = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^/.*$")]

BOUNDS_IN_ORDER = (
    "self.minReplicas <= self.maxReplicas",
    "minReplicas must not be greater than maxReplicas: lower the one or raise the other",
)
BACKLOG_HAS_QUEUES = (
    "!has(self.autoscaling) || self.queues.size() > 0",
    "autoscaling needs queues: it is their backlog that workers are scaled on",
)
PORT_OF_METRICS = (
    # has(): defaults of parents are checked before those of their parts are filled in.
    "has(self.image) || !has(self.api) || !has(self.api.port) || self.api.port != 9000",
    "api.port 9000 is where the bundled image serves metrics: choose another port",
)
BUNDLED_WORKERS_HAVE_QUEUES = (
    (
        "has(self.image) || !has(self.workers) || self.workers.all(pool, pool.queues.size() + pool.args.size() + "
        "pool.command.size() > 0)"
    ),
    "a worker of the bundled image needs queues (bulk, notifications), or args of its own",
)

# A field of a schedule, as Kubernetes reads it: numbers or names, ranges, steps, lists.
NUMBERS = {
    "minute": "[0-5]?[0-9]",
    "hour": "([01]?[0-9]|2[0-3])",
    "day": "(0?[1-9]|[12][0-9]|3[01])",
    "month": "(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    "weekday": "([0-6]|sun|mon|tue|wed|thu|fri|sat)",
}
ITEMS = [rf"([*?]|{number}(-{number})?)(/[1-9][0-9]*)?" for number in NUMBERS.values()]
FIVE_FIELDS = " +".join(f"{item}(,{item})*" for item in ITEMS)
NAMED = "@(hourly|daily|midnight|weekly|monthly|yearly|annually)|@every ([0-9]+[hms])+"
SCHEDULE_IS_KNOWN = (
    f"self.matches('^(?i)({NAMED}|{FIVE_FIELDS})$')",
    (
        "schedule is five fields (minute, hour, day, month, weekday), for example '17 3 * * 1-5', "
        "or @hourly, @daily, @weekly, @monthly, @yearly"
    ),
)
TIME_ZONE_IS_NAMED = (
    "self != 'Local' && self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$')",
    "timeZone is a name of the tz database, for example Etc/UTC or Europe/Berlin",
)


class Migrations(ApiModel):
    """The Job that brings the database's schema to an image; no pod gets the image before it succeeded."""

    enabled: bool = Field(default=True, description="Whether a migration runs before a new image.")
    command: Arguments = Field(default=[], description="Command of the container; empty keeps the image's own.")
    args: Arguments = Field(default=[], description="Arguments; with command and args empty: migrate.")
    timeout_seconds: int = Field(
        default=600, ge=1, le=86400, description="After so many seconds the migration has failed."
    )


class ApiAutoscaling(ApiModel):
    """A HorizontalPodAutoscaler for the API: it then owns the number of replicas."""

    model_config = ConfigDict(json_schema_extra=cel(BOUNDS_IN_ORDER))

    min_replicas: int = Field(default=2, ge=1, le=1000, description="Never fewer API pods than this.")
    max_replicas: int = Field(default=10, ge=1, le=1000, description="Never more API pods than this.")
    target_cpu_utilization_percentage: int = Field(
        default=70,
        ge=1,
        le=1000,
        alias="targetCPUUtilizationPercentage",
        description="Mean CPU use that is aimed at, in percent of the request.",
    )


class Api(ApiModel):
    """The HTTP API of the backend."""

    replicas: int = Field(default=2, ge=0, le=1000, description="Number of API pods; ignored with autoscaling.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port that the container listens on.")
    command: Arguments = Field(default=[], description="Command of the container; empty keeps the image's own.")
    args: Arguments = Field(default=[], description="Arguments; with command and args empty: api.")
    resources: Resources = Field(
        default=Resources(), description="Requests and limits of an API container.", json_schema_extra=WITHIN_LIMITS
    )
    liveness_path: HttpPath = Field(
        default="/livez", description="Path that answers 2xx while the process need not be killed."
    )
    readiness_path: HttpPath = Field(
        default="/readyz", description="Path that answers 2xx while the pod can take requests."
    )
    autoscaling: ApiAutoscaling | None = Field(default=None, description="Scale on CPU use with an HPA.")


class WorkerAutoscaling(ApiModel):
    """Scaling of a worker pool on the backlog (ready + unacknowledged messages) of its queues."""

    model_config = ConfigDict(json_schema_extra=cel(BOUNDS_IN_ORDER))

    min_replicas: int = Field(default=2, ge=0, le=1000, description="Never fewer workers than this.")
    max_replicas: int = Field(default=6, ge=1, le=1000, description="Never more workers than this.")
    messages_per_replica: int = Field(
        default=10, ge=1, le=1_000_000, description="Backlog that one worker is to take on."
    )
    scale_down_stabilization_seconds: int = Field(
        default=60,
        ge=0,
        le=86400,
        description="The backlog must be smaller for so long before a worker is taken away, and its queues seen "
        "without a message in hand within that time.",
    )


class Worker(ApiModel):
    """One pool of workers: a Deployment that consumes some queues."""

    model_config = ConfigDict(json_schema_extra=cel(BACKLOG_HAS_QUEUES))

    name: str = Field(min_length=1, max_length=24, pattern=DNS_LABEL, description="Name of the pool.")
    queues: list[QueueName] = Field(
        default=[],
        max_length=50,
        description="Queues that it consumes, and on whose backlog it is scaled.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    replicas: int = Field(default=2, ge=0, le=1000, description="Number of workers; ignored with autoscaling.")
    autoscaling: WorkerAutoscaling | None = Field(default=None, description="Scale on the backlog of the queues.")
    command: Arguments = Field(default=[], description="Command of the container; empty keeps the image's own.")
    args: Arguments = Field(default=[], description="Arguments; with command and args empty: worker --queues a,b.")
    env: list[EnvVar] = Field(
        default=[],
        max_length=100,
        description="Variables of this pool alone; they win over the rest.",
        json_schema_extra=BY_NAME,
    )
    resources: Resources = Field(default=Resources(), description="Requests and limits of a worker container.")
    termination_grace_period_seconds: int = Field(
        default=60, ge=0, le=86400, description="Time to finish the message in hand when the pod is stopped."
    )


class Backend(ApiModel):
    """The image and how its API, workers and migrations run."""

    model_config = ConfigDict(json_schema_extra=cel(PORT_OF_METRICS, BUNDLED_WORKERS_HAVE_QUEUES))

    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        pattern=r"^[a-zA-Z0-9][^\s]*$",
        description=(
            "Image of the backend; left out, the bundled reference backend runs. With an image of one's own, "
            "workers, cron jobs and migrations exist only where they are declared."
        ),
    )
    image_pull_policy: PullPolicy = Field(default=PullPolicy.IF_NOT_PRESENT, description="When a node pulls the image.")
    image_pull_secrets: list[ImagePullSecret] = Field(
        default=[],
        max_length=20,
        description=(
            "Secrets with registry credentials, for every pod of the stack: a change restarts those of the data "
            "services too, one by one."
        ),
    )
    env: list[EnvVar] = Field(
        default=[],
        max_length=200,
        description="Variables of every backend container; they win over the operator's.",
        json_schema_extra=BY_NAME,
    )
    env_from: list[VariablesSource] = Field(
        default=[], max_length=50, description="Secrets and ConfigMaps whose keys become variables."
    )
    migrations: Migrations | None = Field(default=None, description="The migration Job of an image.")
    api: Api = Field(default=Api(), description="The HTTP API.")
    workers: list[Worker] | None = Field(
        default=None,
        max_length=20,
        description="Worker pools. Left out with the bundled image: one pool of 2 on bulk and notifications.",
        json_schema_extra=BY_NAME,
    )


class ConcurrencyPolicy(StrEnum):
    """What happens when a run is due while another one runs."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


class CronJob(ApiModel):
    """A job that runs on a schedule, in the backend's image."""

    # A CronJob's name has at most 52 characters: 30 for the stack, a dash, 21 for this.
    name: str = Field(min_length=1, max_length=21, pattern=DNS_LABEL, description="Name of the job.")
    schedule: str = Field(
        min_length=1,
        max_length=100,
        description="When it runs: minute, hour, day, month, weekday; or @daily.",
        json_schema_extra=cel(SCHEDULE_IS_KNOWN),
    )
    time_zone: str = Field(
        default="Etc/UTC",
        min_length=1,
        max_length=64,
        description="Time zone of the schedule, by its name in the tz database.",
        json_schema_extra=cel(TIME_ZONE_IS_NAMED),
    )
    command: Arguments = Field(default=[], description="Command of the container; empty keeps the image's own.")
    args: Arguments = Field(default=[], description="Arguments; with command and args empty: job NAME.")
    suspend: bool = Field(default=False, description="Start no new runs.")
    concurrency_policy: ConcurrencyPolicy = Field(
        default=ConcurrencyPolicy.FORBID, description="What happens when a run is due while another one runs."
    )
    starting_deadline_seconds: int = Field(
        default=300, ge=10, le=86400, description="A run that could not start for so long is missed."
    )
    active_deadline_seconds: int = Field(
        default=3600, ge=1, le=604800, description="A run that takes longer is stopped."
    )
    resources: Resources = Field(default=Resources(), description="Requests and limits of the job's container.")
