"""What a process finds in its environment: the names of the stack's contract and the backend's own knobs."""

import logging
from typing import Self

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting has the name of its environment variable, in lower case."""

    model_config = SettingsConfigDict(env_prefix="", extra="ignore", frozen=True)

    # The contract: what every container of a stack is given.
    database_url: str
    database_readonly_url: str = ""
    redis_sentinels: str = ""
    redis_sentinel_master: str = ""
    redis_password: str = ""
    redis_url: str = ""
    rabbitmq_url: str = ""
    api_admin_token: str = ""
    appstack_name: str = "appstack"
    appstack_component: str = ""
    pod_name: str = Field("local", validation_alias=AliasChoices("POD_NAME", "HOSTNAME"))
    pod_namespace: str = ""

    # Where to listen.
    api_host: str = "0.0.0.0"  # noqa: S104
    api_port: int = 8000
    metrics_host: str = "0.0.0.0"  # noqa: S104
    metrics_port: int = 9000
    log_level: str = "INFO"
    otel_exporter_otlp_endpoint: str = ""

    # Imports.
    import_chunk_rows: int = Field(2_000, ge=1, le=20_000)
    import_chunk_bytes: int = Field(1 << 20, ge=1 << 10)
    import_max_line_bytes: int = Field(64 << 10, ge=1 << 10)
    import_max_stored_errors: int = Field(10_000, ge=1)
    import_lease_seconds: float = Field(30.0, gt=0)
    import_max_uploads: int = Field(8, ge=1)
    import_patience_seconds: float = Field(60.0, gt=0)  # with a silent sender
    import_slowest_bytes_per_second: int = Field(1 << 10, ge=1)  # in the long run

    body_seconds: float = Field(10.0, gt=0)  # for the body of any other request, whole

    export_max_running: int = Field(10, ge=1)  # of one token, over all instances; waiting ones count
    subscriptions_max: int = Field(100, ge=1)  # of one token; disabled ones count

    # Patience.
    database_pool_size: int = Field(10, ge=3)
    database_patience_seconds: float = Field(10.0, ge=0)
    replica_most_stale_seconds: float = Field(5.0, gt=0)
    export_replica_wait_seconds: float = Field(5.0, ge=0)
    rate_limit_per_second: float = Field(1_000.0, ge=0)  # of one token, over all instances; 0: no limit
    rate_limit_burst: int = Field(2_000, ge=1)
    auth_failures_per_minute: int = Field(600, ge=0)  # with unknown tokens, of one address; 0: no limit
    trusted_proxies: int = Field(0, ge=0)  # how many entries at the end of X-Forwarded-For are believed
    redis_timeout_seconds: float = Field(0.1, gt=0)
    redis_breaker_seconds: float = Field(2.0, gt=0)
    redis_watch_seconds: float = Field(1.0, gt=0)
    redis_patience_seconds: float = Field(1.0, ge=0)
    cache_ttl_seconds: int = Field(30, ge=1)
    drain_pause_seconds: float = Field(5.0, ge=0)
    drain_timeout_seconds: float = Field(25.0, ge=0)
    worker_concurrency: int = Field(2, ge=1, le=20)
    worker_max_deliveries: int = Field(10, ge=1)
    worker_unknown_seconds: int = Field(900, ge=0)  # so long a message waits for a worker that knows its kind
    worker_watch_seconds: float = Field(10.0, gt=0)
    outbox_poll_seconds: float = Field(1.0, gt=0)

    # Webhooks.
    webhook_allow_private: bool = False
    webhook_timeout_seconds: float = Field(10.0, gt=0)
    webhook_concurrency: int = Field(16, ge=1, le=100)  # requests under way, of one worker
    webhook_target_concurrency: int = Field(4, ge=1)  # of these to one target
    # After the first attempt; the intervals that Standard Webhooks recommends, two days in all.
    webhook_backoff_seconds: str = Field(
        "5,300,1800,7200,18000,36000,50400,72000", pattern=r"^\d+(\.\d+)?(,\d+(\.\d+)?)*$"
    )
    webhook_breaker_failures: int = Field(5, ge=1)
    webhook_breaker_seconds: float = Field(60.0, gt=0)

    rescue_after_minutes: int = Field(15, ge=1)  # without progress

    # Retention of what purge-expired removes.
    keep_jobs_days: int = Field(30, ge=1)
    keep_payloads_hours: int = Field(24, ge=1)

    @field_validator("log_level")
    @classmethod
    def level_is_known(cls, level: str) -> str:
        if level.upper() not in (levels := logging.getLevelNamesMapping()):
            raise ValueError(f"must be one of {', '.join(levels)}")
        return level.upper()

    @model_validator(mode="after")
    def sentinels_come_with_their_master(self) -> Self:
        if self.redis_sentinels and not self.redis_sentinel_master:
            raise ValueError("REDIS_SENTINELS needs REDIS_SENTINEL_MASTER")
        return self

    @property
    def has_replica(self) -> bool:
        """Whether reads may go to another address than writes."""
        return self.database_readonly_url not in ("", self.database_url)

    @property
    def webhook_delays(self) -> list[float]:
        """Seconds between the attempts to deliver a webhook."""
        return [float(seconds) for seconds in self.webhook_backoff_seconds.split(",")]

    @property
    def sentinel_addresses(self) -> list[tuple[str, int]]:
        """(host, port) of each Sentinel."""
        pairs = (item.strip().rpartition(":") for item in self.redis_sentinels.split(",") if item.strip())
        return [(host, int(port)) for host, _, port in pairs]


def load_settings() -> Settings:
    """Read the environment; raises pydantic.ValidationError that names what is missing."""
    return Settings()  # type: ignore[call-arg]  # filled from the environment
