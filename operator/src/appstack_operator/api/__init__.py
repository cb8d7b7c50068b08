"""The AppStack API: the single source of the CRD's schema, defaults, rules and docs."""

from appstack_operator.api.backend import Backend, CronJob, Migrations, Worker
from appstack_operator.api.common import Mode, Resources, Spread, Storage
from appstack_operator.api.postgres import Postgres, SynchronousReplication
from appstack_operator.api.rabbitmq import Rabbitmq
from appstack_operator.api.redis import Redis
from appstack_operator.api.stack import AppStack, AppStackSpec, DeletionPolicy, Metadata
from appstack_operator.api.status import AppStackStatus

__all__ = [
    "AppStack",
    "AppStackSpec",
    "AppStackStatus",
    "Backend",
    "CronJob",
    "DeletionPolicy",
    "Metadata",
    "Migrations",
    "Mode",
    "Postgres",
    "Rabbitmq",
    "Redis",
    "Resources",
    "Spread",
    "Storage",
    "SynchronousReplication",
    "Worker",
]
