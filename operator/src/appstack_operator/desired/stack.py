"""All objects of a stack, stage by stage: what must stand before what. Pure."""

from dataclasses import dataclass
from enum import IntEnum

from appstack_operator.api import AppStack, Mode
from appstack_operator.desired.api import build_api
from appstack_operator.desired.backend import build_service_account
from appstack_operator.desired.context import Context
from appstack_operator.desired.credentials import build_credentials, build_record, rests_on
from appstack_operator.desired.cronjobs import build_cron_jobs
from appstack_operator.desired.environment import build_environment
from appstack_operator.desired.migrations import build_migrations
from appstack_operator.desired.monitoring import build_monitoring
from appstack_operator.desired.network import build_network_policies
from appstack_operator.desired.pods import knows_its_addresses
from appstack_operator.desired.pooler import build_pooler
from appstack_operator.desired.postgres import build_postgres
from appstack_operator.desired.rabbitmq import build_rabbitmq
from appstack_operator.desired.redis import build_redis
from appstack_operator.desired.workers import build_workers
from appstack_operator.kinds import ORDER
from appstack_operator.objects import Object


class Stage(IntEnum):
    """The order of a stack's life: a gate stands before each stage but the first two."""

    CREDENTIALS = 0
    DATA_SERVICES = 1
    ENVIRONMENT = 2
    MIGRATIONS = 3
    BACKEND = 4
    CRON_JOBS = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as it should be, and when its turn is."""

    stage: Stage
    manifest: Object
    is_created_only: bool = False  # made once, then left alone: a password, a Job
    # Else a Service that its pods are to reach has no address yet, or a password was lost: what runs stays as it is.
    is_known: bool = True


def build_stack(stack: AppStack, context: Context) -> list[Wanted]:
    """Everything that the spec asks for, in the order in which it is made."""
    credentials = build_credentials(stack, context)
    record = build_record(stack, context, credentials)
    stages = {
        Stage.CREDENTIALS: [*credentials, *record],
        Stage.DATA_SERVICES: [
            *build_data_services(stack, context),
            *build_network_policies(stack, context),
            *build_monitoring(stack),
        ],
        Stage.ENVIRONMENT: [build_service_account(stack, context), build_environment(stack, context)],
        Stage.MIGRATIONS: build_migrations(stack, context),
        Stage.BACKEND: [*build_api(stack, context), *build_workers(stack, context)],
        Stage.CRON_JOBS: build_cron_jobs(stack, context),
    }
    return [
        Wanted(
            stage,
            manifest,
            is_created_only=manifest in credentials or manifest["kind"] == "Job",
            is_known=knows_its_addresses(manifest) and not rests_on(context.lost, manifest),
        )
        for stage, manifests in stages.items()
        for manifest in sorted(manifests, key=lambda obj: (ORDER[obj["kind"]], obj["metadata"]["name"]))
    ]


def build_data_services(stack: AppStack, context: Context) -> list[Object]:
    """PostgreSQL, Redis and RabbitMQ, as far as the operator runs them."""
    spec = stack.spec
    objects: list[Object] = []
    if spec.postgres.mode is Mode.MANAGED:
        objects += [*build_postgres(stack, context), *build_pooler(stack, context)]
    if spec.redis.mode is Mode.MANAGED:
        objects += build_redis(stack, context)
    if spec.rabbitmq.mode is Mode.MANAGED:
        objects += build_rabbitmq(stack, context)
    return objects
