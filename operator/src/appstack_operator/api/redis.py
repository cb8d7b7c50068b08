"""spec.redis: a Redis master with replicas under Sentinel, or an external Redis."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from appstack_operator.api.base import cel
from appstack_operator.api.common import (
    EXTERNAL_IS_NAMED,
    WITHIN_LIMITS,
    DataService,
    External,
    Quantity,
    Resources,
    Storage,
)


class MaxMemoryPolicy(StrEnum):
    """What Redis gives up when its memory is full."""

    ALLKEYS_LRU = "allkeys-lru"
    ALLKEYS_LFU = "allkeys-lfu"
    ALLKEYS_RANDOM = "allkeys-random"
    VOLATILE_LRU = "volatile-lru"
    VOLATILE_LFU = "volatile-lfu"
    VOLATILE_RANDOM = "volatile-random"
    VOLATILE_TTL = "volatile-ttl"
    NOEVICTION = "noeviction"


MEMORY_IS_LIMITED = (
    "!quantity(self).isLessThan(quantity('1Mi'))",
    "maxMemory must be at least 1Mi: to Redis, 0 means no limit",
)
MEMORY_BESIDE_DATA = (
    (
        "!has(self.maxMemory) || !has(self.resources) || !has(self.resources.limits) || "
        "!('memory' in self.resources.limits) || "
        "quantity(string(self.resources.limits['memory'])).isGreaterThan(quantity(self.maxMemory))"
    ),
    "resources.limits.memory must be larger than maxMemory (twice is safe): Redis needs memory beside its data",
)


class Redis(DataService):
    """Cache, sessions and rate limits of the stack: nothing that must never vanish."""

    model_config = ConfigDict(json_schema_extra=cel(EXTERNAL_IS_NAMED, MEMORY_BESIDE_DATA))

    replicas: Annotated[
        int,
        Field(
            json_schema_extra=cel(
                ("self != 2", "replicas must be 1 or 3 to 5: with two, one lost instance stops all writes")
            )
        ),
    ] = Field(default=3, ge=1, le=5, description="Number of Redis instances: 1, or 3 to 5.")
    sentinels: Annotated[int, Field(json_schema_extra=cel(("self in [1, 3, 5]", "sentinels must be 1, 3 or 5")))] = (
        Field(
            default=3,
            ge=1,
            le=5,
            description="Number of Sentinels: 1, 3 or 5; most of them decide who is master.",
        )
    )
    max_memory: Quantity = Field(
        default="256Mi", description="Memory for data in each instance.", json_schema_extra=cel(MEMORY_IS_LIMITED)
    )
    max_memory_policy: MaxMemoryPolicy = Field(
        default=MaxMemoryPolicy.ALLKEYS_LRU, description="What is given up when the memory is full."
    )
    storage: Storage = Field(default=Storage(), description="The volume of each Redis instance.")
    resources: Resources = Field(
        default=Resources(), description="Requests and limits of a Redis container.", json_schema_extra=WITHIN_LIMITS
    )
    external: External | None = Field(
        default=None,
        description=(
            "With mode External: Secret with REDIS_URL, or with REDIS_SENTINELS, REDIS_SENTINEL_MASTER "
            "and REDIS_PASSWORD."
        ),
    )
