"""The AppStack: one object that describes a whole highly available backend."""

from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from appstack_operator.api.backend import BY_NAME, Backend, CronJob
from appstack_operator.api.base import ApiModel
from appstack_operator.api.common import Scheduling
from appstack_operator.api.postgres import Postgres
from appstack_operator.api.rabbitmq import Rabbitmq
from appstack_operator.api.redis import Redis
from appstack_operator.api.status import AppStackStatus


class DeletionPolicy(StrEnum):
    """What happens to volumes and credentials when the stack is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class NetworkPolicy(ApiModel):
    """NetworkPolicies for everything that the operator makes."""

    enabled: bool = Field(
        default=True,
        description="Whether traffic to the stack's pods is limited to what it needs. Policies of one's own add to it.",
    )


class Monitoring(ApiModel):
    """Objects for the Prometheus operator."""

    enabled: bool = Field(
        default=False,
        description="Whether PodMonitors and PrometheusRules are made, where their CRDs exist.",
    )


class AppStackSpec(ApiModel):
    """What the user wants. An empty spec is a complete, working stack."""

    paused: bool = Field(default=False, description="Change nothing; only observe and report.")
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.RETAIN,
        description="Whether volumes and credentials outlive the stack. Nothing outlives its namespace.",
    )
    backend: Backend = Field(default=Backend(), description="The user's code.")
    cron_jobs: list[CronJob] | None = Field(
        default=None,
        max_length=50,
        description="Jobs on a schedule. Left out with the bundled image: its own jobs.",
        json_schema_extra=BY_NAME,
    )
    postgres: Postgres = Field(default=Postgres(), description="The database.")
    redis: Redis = Field(default=Redis(), description="Cache, sessions, rate limits.")
    rabbitmq: Rabbitmq = Field(default=Rabbitmq(), description="The message broker.")
    scheduling: Scheduling = Field(default=Scheduling(), description="Where pods run.")
    network_policy: NetworkPolicy = Field(default=NetworkPolicy(), description="Who may talk to whom.")
    monitoring: Monitoring = Field(default=Monitoring(), description="Objects for the Prometheus operator.")


class Metadata(ApiModel):
    """The part of an object's metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})
    managed_fields: list[dict[str, Any]] = Field(default=[])


class AppStack(ApiModel):
    """A backend with its database, cache, broker, workers and scheduled jobs, kept highly available."""

    model_config = ConfigDict(title="AppStack")

    metadata: Metadata
    spec: AppStackSpec = AppStackSpec()
    status: AppStackStatus = AppStackStatus()

    @field_validator("status", mode="wrap")
    @classmethod
    def forget_what_cannot_be_read(cls, value: object, read: ValidatorFunctionWrapHandler) -> AppStackStatus:
        """Take a status that another version or somebody else wrote for none: only the spec can be wrong."""
        try:
            status: AppStackStatus = read(value)
        except ValidationError:
            return AppStackStatus()
        return status

    @property
    def name(self) -> str:
        """Name of the stack: the first part of every child's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the stack and of all its children."""
        return self.metadata.namespace
