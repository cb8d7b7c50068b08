"""The operator's own configuration, from APPSTACK_… environment variables set by the chart."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from appstack_operator.desired.context import Images


class Settings(BaseSettings):
    """Which images to run, which namespaces to watch, where to listen."""

    model_config = SettingsConfigDict(env_prefix="APPSTACK_", frozen=True)

    image_backend: str = Field(description="The bundled backend.")
    image_postgres: str = Field(description="PostgreSQL with Patroni.")
    image_redis: str = Field(description="Redis with Sentinel.")
    image_rabbitmq: str = Field(description="RabbitMQ.")
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated; empty: the whole cluster."
    )
    cluster_domain: str = Field(default="cluster.local", description="DNS domain of the cluster.")
    lease_namespace: str = Field(default="", description="Where the operator's Lease is; empty: run without one.")
    lease_name: str = Field(default="appstack-operator", description="Whoever holds this Lease may write.")
    metrics_port: int = Field(default=9000, description="Prometheus metrics.")
    health_port: int = Field(default=8080, description="/healthz and /readyz for the probes.")
    resync_seconds: float = Field(default=600, gt=0, description="A pass at least so often, even if nothing happened.")
    poll_seconds: float = Field(default=5, gt=0, description="Services are asked so often; only news lead to a pass.")
    marks_silent_pods: bool = Field(
        default=True, description="Pods on a node that falls silent are marked as not ready, where others stand in."
    )
    watch_silence_seconds: float = Field(
        default=70,
        gt=0,
        description="A watch that says nothing for so long is begun anew; bookmarks come every minute.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="What is logged.")

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        """Turn a,b into its parts."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def in_capitals(cls, value: object) -> object:
        """Take `debug` as well."""
        return value.upper() if isinstance(value, str) else value

    @property
    def images(self) -> Images:
        """The bundled images, for the builders."""
        return Images(self.image_backend, self.image_postgres, self.image_redis, self.image_rabbitmq)
