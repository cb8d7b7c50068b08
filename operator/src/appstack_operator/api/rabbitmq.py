"""spec.rabbitmq: a RabbitMQ cluster with quorum queues, or an external broker."""

from typing import Annotated

from pydantic import Field

from appstack_operator.api.base import cel
from appstack_operator.api.common import (
    WITHIN_LIMITS,
    DataService,
    External,
    Resources,
    Storage,
    VolumeSize,
)


class RabbitmqStorage(Storage):
    """The volume of each RabbitMQ node."""

    size: VolumeSize = "5Gi"


class Rabbitmq(DataService):
    """The message broker of the stack."""

    replicas: Annotated[
        int,
        Field(
            json_schema_extra=cel(
                ("self in [1, 3, 5]", "replicas must be 1, 3 or 5: a majority must be able to go on"),
                (
                    "self >= oldSelf",
                    (
                        "RabbitMQ cannot be scaled down: a node that leaves takes its copies with it; keep the number, "
                        "or create a new stack with fewer replicas: its queues begin empty, messages are not moved"
                    ),
                ),
            )
        ),
    ] = Field(default=3, ge=1, le=5, description="Number of RabbitMQ nodes: 1, 3 or 5. It may grow, never shrink.")
    storage: RabbitmqStorage = Field(default=RabbitmqStorage(), description="The volume of each node.")
    resources: Resources = Field(
        default=Resources(), description="Requests and limits of a RabbitMQ container.", json_schema_extra=WITHIN_LIMITS
    )
    external: External | None = Field(
        default=None,
        description=(
            "With mode External: Secret with RABBITMQ_URL and optionally RABBITMQ_MANAGEMENT_URL, without "
            "which workers are not scaled on their backlog."
        ),
    )
