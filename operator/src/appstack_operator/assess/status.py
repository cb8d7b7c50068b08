"""The status of a stack, built from what was seen and concluded. Pure."""

from appstack_operator.api import AppStack, Mode
from appstack_operator.api.status import (
    ApiStatus,
    AppStackStatus,
    CronJobStatus,
    MigrationsStatus,
    MigrationState,
    PostgresStatus,
    RabbitmqStatus,
    RedisStatus,
    SummaryStatus,
    WorkerStatus,
)
from appstack_operator.assess.conditions import Work, build_conditions, headline, judge
from appstack_operator.assess.pods import ready_count
from appstack_operator.assess.stack import Assessment
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.backend import cron_jobs_of, image_of, migrations_of, workers_of
from appstack_operator.desired.context import Context
from appstack_operator.desired.migrations import job_name
from appstack_operator.desired.workers import component_of_worker
from appstack_operator.objects import selector
from appstack_operator.observed import Observed


def build_status(
    stack: AppStack, seen: Observed, context: Context, assessment: Assessment, work: Work
) -> AppStackStatus:
    """All of status."""
    verdicts = judge(stack, seen, assessment, work)
    generation = stack.metadata.generation
    conditions = build_conditions(
        verdicts, stack.status.conditions, generation, is_settled=work.is_settled, now=seen.now
    )
    api = build_api_status(stack, seen, context)
    workers = [build_worker_status(stack, seen, pool.name, pool.queues) for pool in workers_of(stack)]
    return AppStackStatus(
        observed_generation=generation,
        conditions=conditions,
        postgres=build_postgres_status(stack, seen),
        redis=build_redis_status(stack, seen),
        rabbitmq=build_rabbitmq_status(stack, seen),
        migrations=build_migrations_status(stack, context, verdicts["MigrationsApplied"]),
        api=api,
        workers=workers,
        summary=build_summary(stack, seen, headline(verdicts)),
        cron_jobs=[build_cron_job_status(stack, seen, job.name) for job in cron_jobs_of(stack)],
    )


def build_summary(stack: AppStack, seen: Observed, worst: Verdict) -> SummaryStatus:
    """The texts of the columns: ready/wanted pods and the one thing to know."""
    api_wanted = wanted_replicas(seen, f"{stack.name}-api", stack.spec.backend.api.replicas)
    pools = workers_of(stack)
    components = [component_of_worker(pool) for pool in pools]
    ready = sum(ready_count(seen.pods(component)) for component in components)
    wanted = sum(
        wanted_replicas(seen, f"{stack.name}-{component}", pool.replicas)
        for component, pool in zip(components, pools, strict=True)
    )
    return SummaryStatus(
        api=f"{ready_count(seen.pods('api'))}/{api_wanted}",
        workers=f"{ready}/{wanted}" if pools else "-",
        reason=worst.reason.value,
        message=worst.message[:2000],
    )


def wanted_replicas(seen: Observed, deployment: str, by_spec: int) -> int:
    """What the Deployment asks for now (an autoscaler may have set it)."""
    live = seen.get("Deployment", deployment)
    return int(live["spec"].get("replicas", by_spec)) if live else by_spec


def build_postgres_status(stack: AppStack, seen: Observed) -> PostgresStatus | None:
    """Who is primary, who may take over without loss."""
    if stack.spec.postgres.mode is not Mode.MANAGED:
        return None
    primary = seen.postgres.primary
    return PostgresStatus(
        primary=primary.pod if primary else None,
        instances=stack.spec.postgres.instances,
        ready_instances=ready_count(seen.pods("postgres")),
        sync_standbys=sorted(member.pod for member in seen.postgres.members if member.is_sync),
        timeline=primary.timeline if primary else None,
    )


def build_redis_status(stack: AppStack, seen: Observed) -> RedisStatus | None:
    """Who is master by the Sentinels' word."""
    if stack.spec.redis.mode is not Mode.MANAGED:
        return None
    return RedisStatus(
        master=seen.redis.master,
        replicas=stack.spec.redis.replicas,
        ready_replicas=ready_count(seen.pods("redis")),
        sentinels=ready_count(seen.pods("redis-sentinel")),
    )


def build_rabbitmq_status(stack: AppStack, seen: Observed) -> RabbitmqStatus | None:
    """How many nodes the cluster itself counts."""
    if stack.spec.rabbitmq.mode is not Mode.MANAGED:
        return None
    return RabbitmqStatus(
        replicas=stack.spec.rabbitmq.replicas,
        ready_replicas=ready_count(seen.pods("rabbitmq")),
        running_nodes=sum(node.is_running for node in seen.rabbitmq.nodes),
    )


def build_migrations_status(stack: AppStack, context: Context, verdict: Verdict) -> MigrationsStatus | None:
    """How far the migration of the wanted image is."""
    if migrations_of(stack) is None:
        return None
    states = {Reason.MIGRATION_FAILED: MigrationState.FAILED, Reason.MIGRATION_PENDING: MigrationState.PENDING}
    state = MigrationState.SUCCEEDED if verdict.is_true else states.get(verdict.reason, MigrationState.RUNNING)
    return MigrationsStatus(image=image_of(stack, context), state=state, job=job_name(stack, context))


def build_api_status(stack: AppStack, seen: Observed, context: Context) -> ApiStatus:
    """The API's pods, also for the scale subresource."""
    pods = [pod for pod in seen.pods("api") if "deletionTimestamp" not in pod["metadata"]]
    return ApiStatus(
        replicas=len(pods),
        ready_replicas=ready_count(pods),
        image=image_of(stack, context),
        selector=",".join(f"{key}={value}" for key, value in sorted(selector(stack, "api").items())),
    )


def build_worker_status(stack: AppStack, seen: Observed, name: str, queues: list[str]) -> WorkerStatus:
    """One pool, and how much waits for it."""
    pods = [pod for pod in seen.pods(f"worker-{name}") if "deletionTimestamp" not in pod["metadata"]]
    is_known = any(queue in seen.rabbitmq.backlog for queue in queues)
    backlog = seen.rabbitmq.waiting_in(queues) if is_known else None
    return WorkerStatus(name=name, replicas=len(pods), ready_replicas=ready_count(pods), backlog=backlog)


def build_cron_job_status(stack: AppStack, seen: Observed, name: str) -> CronJobStatus:
    """When a scheduled job ran last, and when it last succeeded."""
    live = seen.get("CronJob", f"{stack.name}-{name}")
    status = live.get("status", {}) if live else {}
    return CronJobStatus(
        name=name,
        last_schedule_time=status.get("lastScheduleTime"),
        last_successful_time=status.get("lastSuccessfulTime"),
    )
