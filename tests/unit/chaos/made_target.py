"""A target that nothing listens at."""

from __future__ import annotations

from tests.chaos.clients.target import Postgres, Redis, Target

TARGET = Target(
    Postgres("10.0.0.1", "10.0.0.2", "", "", ""),
    Redis([], "", "", ""),
    "amqp://user:word@10.1.1.1:5672/",
    "",
    "",
)
