"""What a keeper is told: its own name and password (environment), the group it belongs to (a mounted file)."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REDIS_PORT = 6379
SENTINEL_PORT = 26379
KEEPER_PORT = 6380


@dataclass(frozen=True)
class Group:
    """Names and announced addresses of one stack's Redis and Sentinel pods."""

    master_name: str  # NAMESPACE.NAME, the same nowhere else
    redis: Mapping[str, str]  # pod -> the ClusterIP of its own Service: stable, and needs no DNS
    sentinels: Mapping[str, str]
    min_replicas: int = 0  # replicas without which a master takes no writes

    @classmethod
    def from_json(cls, text: str) -> "Group":
        """Read members.json."""
        data = json.loads(text)
        return cls(
            master_name=data["masterName"],
            redis=data["redis"],
            sentinels=data["sentinels"],
            min_replicas=data["minReplicas"],
        )

    @property
    def quorum(self) -> int:
        """Sentinels that must agree: most of them."""
        return len(self.sentinels) // 2 + 1

    def pod_at(self, address: str) -> str | None:
        """The Redis pod with this announced address; None for a stranger."""
        return next((pod for pod, known in self.redis.items() if known == address), None)


@dataclass(frozen=True)
class Settings:
    """Where a keeper finds things."""

    pod: str
    password: str
    config_dir: Path  # redis.conf, sentinel.conf, members.json: a ConfigMap
    data_dir: Path  # survives the pod (Redis) or the container (Sentinel)
    run_dir: Path  # memory: the configuration with the password in it

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the environment of the container."""
        return cls(
            pod=os.environ["POD_NAME"],
            password=os.environ["REDIS_PASSWORD"],
            config_dir=Path(os.environ.get("CONFIG_DIR", "/etc/appstack")),
            data_dir=Path(os.environ.get("DATA_DIR", "/var/lib/redis")),
            run_dir=Path(os.environ.get("RUN_DIR", "/run/redis")),
        )

    def group(self) -> Group:
        """The group as configured now: the file follows its ConfigMap, so it is read each time."""
        return Group.from_json((self.config_dir / "members.json").read_text())
