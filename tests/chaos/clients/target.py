"""Where the clients find a stack: addresses, because the name server may be what is broken, and passwords."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Postgres:
    """One way into PostgreSQL."""

    host: str
    replica_host: str
    user: str
    password: str
    dbname: str


@dataclass(frozen=True)
class Redis:
    """Redis by its Sentinels and by its Service."""

    sentinels: list[str]
    master_name: str
    host: str
    password: str


@dataclass(frozen=True)
class Target:
    """Everything a client may need."""

    postgres: Postgres
    redis: Redis
    amqp_url: str
    api_url: str
    api_token: str
    # The addresses of the pods that held connections through these Services lead to at first; empty: to any.
    api_pod: str = ""
    rabbitmq_pod: str = ""

    def save(self, path: Path) -> None:
        """Write it for the owner alone: it holds passwords."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def load(path: Path) -> Target:
        """Read what `save` wrote."""
        data = json.loads(path.read_text())
        return Target(**{**data, "postgres": Postgres(**data["postgres"]), "redis": Redis(**data["redis"])})
