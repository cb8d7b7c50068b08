"""All verdicts about a stack, and the few that sum them up. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from appstack_operator.api import AppStack, Mode
from appstack_operator.assess.availability import assess_availability
from appstack_operator.assess.backend import (
    api_serves,
    assess_api,
    assess_cron_jobs,
    assess_migrations,
    assess_workers,
    old_pods_are_gone,
    workers_serve,
)
from appstack_operator.assess.credentials import holders, passwords_are_known, secrets_are_in_force
from appstack_operator.assess.external import assess_external, external_serves, is_bound
from appstack_operator.assess.parameters import parameters_are_looked_at, parameters_are_taken
from appstack_operator.assess.pods import condition, ready_count
from appstack_operator.assess.postgres import (
    assess_postgres,
    one_primary_leads,
    only_the_pooler_is_unwell,
    writes_are_taken,
)
from appstack_operator.assess.rabbitmq import assess_rabbitmq, majority_runs, publishers_are_not_held_back
from appstack_operator.assess.reach import pods_are_reached
from appstack_operator.assess.redis import (
    assess_redis,
    disk_of_master_takes_writes,
    master_is_up,
    master_takes_writes,
)
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.context import Context
from appstack_operator.desired.pooler import COMPONENT as POOLER
from appstack_operator.objects import Object, component_of
from appstack_operator.observed import Observed

# Causes before symptoms: the first that does not serve is what Ready reports.
SERVING = ("PostgresReady", "RedisReady", "RabbitMQReady", "APIReady", "WorkersReady")
COMPONENTS = {"PostgresReady": "postgres", "RedisReady": "redis", "RabbitMQReady": "rabbitmq"}
# What answers the operator only to a password; Patroni tells anybody how it is.
ASKED_WITH = {"RedisReady": "redis", "RabbitMQReady": "rabbitmq"}
PODS_OF = COMPONENTS | {"APIReady": "api", "WorkersReady": "worker-"}  # how their components begin


@dataclass(frozen=True, slots=True)
class Assessment:
    """Condition type -> verdict, and which parts serve a user even if not all is well with them."""

    verdicts: Mapping[str, Verdict]
    serves: Mapping[str, bool]
    old_pods_are_gone: bool = False  # no API or worker pod of an older template is left
    # False for what endangers nothing that runs: an edited password, a refused setting, an autoscaler that is blind, a
    # pooler that nobody goes through yet.
    harmless: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()  # components that serve nobody yet
    # Condition -> why nobody can tell whether that part serves; known causes of something else may stand in `verdicts`.
    unseen: Mapping[str, Verdict] = field(default_factory=dict)
    missing_inputs: Verdict | None = None  # a Secret of the user's that is missing, useless, or leads nowhere


def assess_stack(stack: AppStack, seen: Observed, context: Context) -> Assessment:
    """All component verdicts."""
    spec = stack.spec
    data = {
        "PostgresReady": assess_external(spec.postgres.mode, "postgres", stack, seen) or assess_postgres(stack, seen),
        "RedisReady": assess_external(spec.redis.mode, "redis", stack, seen) or assess_redis(stack, seen),
        "RabbitMQReady": assess_external(spec.rabbitmq.mode, "rabbitmq", stack, seen) or assess_rabbitmq(stack, seen),
    }
    edits = {
        name: edit
        for name, verdict in data.items()
        if verdict.is_true and (edit := secrets_are_in_force(COMPONENTS[name], stack, seen, context))
    }
    if data["PostgresReady"].is_true and "PostgresReady" not in edits:
        if refused := parameters_are_taken(stack, context):
            edits["PostgresReady"] = refused
        data["PostgresReady"] = parameters_are_looked_at(context) or data["PostgresReady"]
    data |= edits
    lost = {
        name: gone for name, part in COMPONENTS.items() if (gone := passwords_are_known(part, stack, seen, context))
    }
    blind = {
        name: replace(gone, status="Unknown")
        for name, gone in lost.items()
        if ASKED_WITH.get(name) in context.lost and holders(COMPONENTS[name], seen)
    }
    data |= {name: gone if name in blind else beside(gone, data[name]) for name, gone in lost.items()}
    missing = unusable_input(stack, seen, data) or next(iter(lost.values()), None)
    data_serves = {
        "PostgresReady": data["PostgresReady"].is_true or postgres_serves(stack, seen, context),
        "RedisReady": data["RedisReady"].is_true or redis_serves(stack, seen),
        "RabbitMQReady": data["RabbitMQReady"].is_true or rabbitmq_serves(stack, seen),
    }
    away = [f"{name}: {data[name].message}" for name in data_serves if not data_serves[name]]
    verdicts = data | {
        "MigrationsApplied": assess_migrations(stack, seen, context, missing.message if missing else "; ".join(away)),
        "APIReady": assess_api(stack, seen),
        "WorkersReady": assess_workers(stack, seen),
        "CronJobsReady": assess_cron_jobs(stack, seen),
    }
    serves = data_serves | {"APIReady": api_serves(stack, seen), "WorkersReady": workers_serve(stack, seen)}
    unmeasured = {"APIReady"} if verdicts["APIReady"].reason is Reason.USAGE_UNREADABLE else set()
    is_passed = spec.postgres.pooler.enabled and not context.pooler_is_door
    passed = {"PostgresReady"} if is_passed and only_the_pooler_is_unwell(stack, seen) else set()
    return Assessment(
        verdicts,
        serves,
        old_pods_are_gone(stack, seen),
        harmless=(frozenset(edits) | unmeasured | passed) - lost.keys(),
        idle=frozenset({POOLER}) if is_passed else frozenset(),
        unseen={name: unseen for name, part in COMPONENTS.items() if (unseen := pods_are_reached(part, seen))} | blind,
        missing_inputs=missing,
    )


def beside(verdict: Verdict, other: Verdict) -> Verdict:
    """A verdict that says also what else is wrong."""
    return verdict if other.is_true else replace(verdict, message=f"{verdict.message}; {other.message}")


def unusable_input(stack: AppStack, seen: Observed, data: Mapping[str, Verdict]) -> Verdict | None:
    """What a Secret of the user's asks for and cannot be had: until it can, the backend keeps what it has."""
    for name, component in COMPONENTS.items():
        is_external = getattr(stack.spec, component).mode is Mode.EXTERNAL
        if is_external and not data[name].is_true and not is_bound(component, stack, seen):
            return data[name]
    return None


def postgres_serves(stack: AppStack, seen: Observed, context: Context) -> bool:
    """Whether one instance takes writes, and the pooler, where writes go through one, lets them through."""
    if stack.spec.postgres.mode is Mode.EXTERNAL:
        return external_serves("postgres", stack, seen, api_serves=api_serves(stack, seen))
    goes_through = stack.spec.postgres.pooler.enabled and context.pooler_is_door
    has_door = not goes_through or ready_count(seen.pods(POOLER)) > 0
    return has_door and not (one_primary_leads(stack, seen) or writes_are_taken(stack, seen))


def redis_serves(stack: AppStack, seen: Observed) -> bool:
    """Whether the master that the Sentinels agree on says that it is one, and takes writes."""
    if stack.spec.redis.mode is Mode.EXTERNAL:
        return external_serves("redis", stack, seen, api_serves=api_serves(stack, seen))
    checks = (master_is_up, master_takes_writes, disk_of_master_takes_writes)
    return not any(check(stack, seen) for check in checks)


def rabbitmq_serves(stack: AppStack, seen: Observed) -> bool:
    """Whether a majority of the nodes runs, and publishers are let in."""
    if stack.spec.rabbitmq.mode is Mode.EXTERNAL:
        return external_serves("rabbitmq", stack, seen, api_serves=api_serves(stack, seen))
    return not (majority_runs(stack, seen) or publishers_are_not_held_back(stack, seen))


def assess_ready(assessment: Assessment) -> Verdict:
    """Whether a user is served: reads, writes, background work."""
    causes = [why_not_served(name, assessment) for name in SERVING if not assessment.serves[name]]
    well = Verdict.true(Reason.HEALTHY, "users are served: reads, writes, background work")
    # What is known to be away comes before what nobody can see.
    return min(causes, key=lambda cause: cause.status == "Unknown", default=well)


def why_not_served(name: str, assessment: Assessment) -> Verdict:
    """What keeps one part from serving, or from being seen."""
    if unseen := assessment.unseen.get(name):
        return unseen
    migration = assessment.verdicts["MigrationsApplied"]
    cause = migration if name == "APIReady" and not migration.is_true else assessment.verdicts[name]
    if not cause.is_true:
        return Verdict.false(cause.reason, cause.message)
    if cause.reason is Reason.NOT_DECLARED:
        return Verdict.false(Reason.NOT_DECLARED, f"nobody is served: {cause.message}")
    return Verdict.false(Reason.STATE_UNKNOWN, f"{name}: no instance serves, and yet: {cause.message}")


def contradiction(seen: Observed, assessment: Assessment) -> str:
    """What was seen of a part that is well by every check and serves nobody, for the log; empty where there is none."""
    for name in SERVING:
        if assessment.serves[name]:
            continue
        verdict = assessment.verdicts[name]
        if assess_ready(assessment).reason is not Reason.STATE_UNKNOWN:
            return ""
        pods = [pod for pod in seen.of_kind("Pod") if component_of(pod).startswith(PODS_OF[name])]
        states = [f"{pod['metadata']['name']} {pod.get('status', {}).get('phase')}, {readiness(pod)}" for pod in pods]
        return f"nobody serves although {name} is True ({verdict.message}); its pods: {'; '.join(states) or 'none'}"
    return ""


def readiness(pod: Object) -> str:
    """How a pod stands to traffic."""
    going = ", on its way out" if "deletionTimestamp" in pod["metadata"] else ""
    return f"Ready {condition(pod, 'Ready').get('status', 'not told')}{going}"


def assess_highly_available(stack: AppStack, seen: Observed, assessment: Assessment, ready: Verdict) -> Verdict:
    """Whether the loss of any one pod or node now would not end that."""
    if not ready.is_true:
        return ready
    for name in SERVING[:-1]:
        if not assessment.verdicts[name].is_true and name not in assessment.harmless:
            return assessment.verdicts[name]
    return assess_availability(stack, seen, assessment.idle)
