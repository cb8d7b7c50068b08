"""Verdicts about the user's code: migrations, API, workers, scheduled jobs. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from appstack_operator.api import AppStack, CronJob, Worker
from appstack_operator.assess.claims import age_seconds
from appstack_operator.assess.deployments import assess_deployment, has_only_new_pods, pods_are_admitted
from appstack_operator.assess.pods import condition, is_pod_of, last_words, pods_can_run, ready_count
from appstack_operator.assess.refusals import pod_is_admitted
from appstack_operator.assess.schedule import last_due
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.backend import cron_jobs_of, image_of, migrations_of, workers_of
from appstack_operator.desired.context import Context
from appstack_operator.desired.cronjobs import component_of_cron_job
from appstack_operator.desired.migrations import COMPONENT as MIGRATE
from appstack_operator.desired.migrations import job_name
from appstack_operator.desired.workers import component_of_worker
from appstack_operator.objects import Object
from appstack_operator.observed import Observed

# The controller may be that late beside the deadline of the spec.
LATE_SECONDS = 60
UNMEASURED_SECONDS = 180
ALIVE = {"Pending", "Running", "Unknown"}  # phases of a pod that may still do something
# The pod of a run may wait for its node or its image for a moment.
STARTING_SECONDS = 20
# A pool of no workers gets its first one when something waits for it; from then on nobody works at that.
FIRST_WORKER_SECONDS = 60
# What keeps the pod of a Job from running, or ended it.
TOLD_OF_PODS = {
    Reason.IMAGE_PULL_FAILED,
    Reason.CRASH_LOOPING,
    Reason.POD_UNSCHEDULABLE,
    Reason.POD_REFUSED,
    Reason.VOLUME_PENDING,
    Reason.SECRET_MISSING,
    Reason.SECRET_INVALID,
    Reason.CONFIG_MAP_MISSING,
    Reason.MIGRATION_FAILED,
    Reason.CRON_JOB_FAILED,
}


def assess_migrations(stack: AppStack, seen: Observed, context: Context, held_by: str = "") -> Verdict:
    """Whether the database's schema is that of the wanted image; `held_by`: what has to be there first."""
    if migrations_of(stack) is None:
        return Verdict.true(Reason.NOT_DECLARED, "the image declares no migrations")
    name, image = job_name(stack, context), image_of(stack, context)
    job = seen.get("Job", name)
    if job is None:
        held_by = held_by or migration_at_work(seen)
        why = f"; it waits for {held_by}" if held_by else ""
        return Verdict.false(Reason.MIGRATION_PENDING, f"Job {name} for image {image} has not been started{why}")
    if is_complete(job):
        return Verdict.true(Reason.HEALTHY, f"Job {name} has migrated the database for image {image}")
    pods = [pod for pod in seen.pods(MIGRATE) if is_pod_of(pod, name)]
    stuck = pods_can_run([pod for pod in pods if pod.get("status", {}).get("phase") == "Pending"], seen)
    # FailureTarget: it is given up, and its last pods are on their way out.
    failed = next((found for kind in ("Failed", "FailureTarget") if is_so(found := condition(job, kind))), None)
    if failed:
        failure = f"Job {name} for image {image} failed ({failed.get('reason')}): "
        cause = (
            words_of(pods) or (stuck.message if stuck else "") or kept_cause(stack, "MigrationsApplied", name, failure)
        )
        return Verdict.false(Reason.MIGRATION_FAILED, f"{failure}{cause or failed.get('message')}")
    return (
        stuck
        or pod_is_admitted(job, seen)
        or Verdict.false(Reason.MIGRATION_RUNNING, f"Job {name} for image {image} runs")
    )


def migration_at_work(seen: Observed) -> str:
    """What migrates still, or is being ended: another one beside it could spoil the database. Empty: nothing."""
    for job in seen.of_kind("Job", MIGRATE):
        if not is_complete(job) and not is_failed(job):
            return f"the end of Job {name_of(job)}"
    for pod in seen.pods(MIGRATE):
        phase = pod.get("status", {}).get("phase", "Pending")
        if phase in ALIVE:
            where = f" on node {node}" if (node := pod.get("spec", {}).get("nodeName")) else ""
            return f"the end of pod {name_of(pod)} of an earlier migration, which is {phase}{where}"
    return ""


def is_complete(job: Object) -> bool:
    """Whether a Job succeeded."""
    return condition(job, "Complete").get("status") == "True"


def is_failed(job: Object) -> bool:
    """Whether a Job was given up."""
    return is_so(condition(job, "Failed"))


def is_so(found: Object) -> bool:
    """Whether a condition holds."""
    return found.get("status") == "True"


def kept_cause(stack: AppStack, kind: str, job: str, failure: str) -> str:
    """What was told of this Job before: when its time is up, its pod is deleted, and the cause with it."""
    before = next((each for each in stack.status.conditions if each.type == kind), None)
    if before is None or before.reason not in TOLD_OF_PODS or job not in before.message:
        return ""
    return before.message.removeprefix(failure)


def words_of(pods: list[Object]) -> str:
    """The last words of the newest failed pod."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True):
        for status in pod.get("status", {}).get("containerStatuses") or []:
            if status.get("state", {}).get("terminated", {}).get("exitCode"):
                return f"pod {pod['metadata']['name']}: {last_words(status)}"
    return ""


def assess_api(stack: AppStack, seen: Observed) -> Verdict:
    """Whether all API pods take requests."""
    api = stack.spec.backend.api
    if api.replicas == 0 and api.autoscaling is None:
        return Verdict.true(Reason.NOT_DECLARED, "spec.backend.api.replicas is 0: no API pod is asked for")
    verdict = assess_deployment(f"{stack.name}-api", "api", None if api.autoscaling else api.replicas, seen)
    if not verdict.is_true:
        return verdict
    unmeasured = use_is_measured(stack, seen) if api.autoscaling else None
    return door_is_there(stack, seen) or unmeasured or verdict


def door_is_there(stack: AppStack, seen: Observed) -> Verdict | None:
    """The Service through which requests come. Pods that are ready serve nobody without it."""
    name = f"{stack.name}-api"
    if seen.get("Service", name):
        return None
    return Verdict.false(Reason.CREATING, f"the stack has no Service {name}: no request reaches the API's pods")


def use_is_measured(stack: AppStack, seen: Observed) -> Verdict | None:
    """The autoscaler knows how busy the pods are; of new ones nobody knows it for a minute or two."""
    name = f"{stack.name}-api"
    active = condition(seen.get("HorizontalPodAutoscaler", name) or {}, "ScalingActive")
    if active.get("status") != "False" or not active.get("lastTransitionTime"):
        return None
    if (seen.now - datetime.fromisoformat(active["lastTransitionTime"])).total_seconds() < UNMEASURED_SECONDS:
        return None
    said = f"HorizontalPodAutoscaler {name} keeps the number of pods: {active.get('message')}"
    return Verdict.false(Reason.USAGE_UNREADABLE, said)


def assess_workers(stack: AppStack, seen: Observed) -> Verdict:
    """Whether all pools are complete: the first one with a trouble speaks."""
    pools = workers_of(stack)
    if not pools:
        return Verdict.true(Reason.NOT_DECLARED, "the spec declares no workers")
    verdicts = [
        assess_deployment(
            f"{stack.name}-{component_of_worker(pool)}",
            component_of_worker(pool),
            None if pool.autoscaling else pool.replicas,
            seen,
        )
        for pool in pools
    ]
    troubled = sorted((verdict for verdict in verdicts if not verdict.is_true), key=lambda each: not each.is_stuck)
    moving = [verdict for verdict in verdicts if verdict.reason is not Reason.HEALTHY]
    return next(iter([*troubled, *backlogs_are_readable(stack, seen), *moving, *verdicts]))


def backlogs_are_readable(stack: AppStack, seen: Observed) -> Iterator[Verdict]:
    """The broker tells how much waits for the pools that are scaled on it, or has until a moment ago."""
    broker = seen.rabbitmq
    for pool in workers_of(stack):
        said, leaderless = "", [queue for queue in pool.queues if broker.backlog.get(queue, 0) is None]
        if not broker.knows_backlog:
            said = "" if "" in broker.electing else broker.error or broker.backlog_error or "no management API is known"
        elif lost := [queue for queue in leaderless if queue not in broker.electing]:
            said = f"queue {lost[0]} has no leader"
        if pool.autoscaling and said:
            yield Verdict.false(
                Reason.BACKLOG_UNREADABLE, f"pool {pool.name} keeps its number, its backlog cannot be read: {said}"
            )


def api_serves(stack: AppStack, seen: Observed) -> bool:
    """Whether at least one API pod takes requests, and requests find the way to it."""
    return ready_count(seen.pods("api")) > 0 and not door_is_there(stack, seen)


def workers_serve(stack: AppStack, seen: Observed) -> bool:
    """Whether every pool that should have a worker has one."""
    return all(
        ready_count(seen.pods(component_of_worker(pool))) > 0 or may_have_none(stack, pool, seen)
        for pool in workers_of(stack)
    )


def may_have_none(stack: AppStack, pool: Worker, seen: Observed) -> bool:
    """Whether nothing waits for a worker of this pool, or its first one in a while is just starting."""
    if (pool.autoscaling.min_replicas if pool.autoscaling else pool.replicas) > 0:
        return False
    component = component_of_worker(pool)
    deployment = seen.get("Deployment", f"{stack.name}-{component}") or {}
    if not deployment.get("spec", {}).get("replicas") or seen.rabbitmq.waiting_in(pool.queues) == 0:
        return True
    pods = [pod for pod in seen.pods(component) if "deletionTimestamp" not in pod["metadata"]]
    is_kept_from_it = pods_can_run(pods, seen) or pods_are_admitted(deployment)
    return not is_kept_from_it and all(age_seconds(pod, seen) <= FIRST_WORKER_SECONDS for pod in pods)


def old_pods_are_gone(stack: AppStack, seen: Observed) -> bool:
    """Whether the API and the workers run nothing but their newest template."""
    components = ("api", *(component_of_worker(pool) for pool in workers_of(stack)))
    deployments = (seen.get("Deployment", f"{stack.name}-{component}") for component in components)
    return all(each is not None and has_only_new_pods(each) for each in deployments)


def assess_cron_jobs(stack: AppStack, seen: Observed) -> Verdict:
    """Whether every scheduled job exists and its last finished run succeeded."""
    jobs = cron_jobs_of(stack)
    if not jobs:
        return Verdict.true(Reason.NOT_DECLARED, "the spec declares no scheduled jobs")
    for job in jobs:
        if seen.get("CronJob", f"{stack.name}-{job.name}") is None:
            return Verdict.false(Reason.CREATING, f"CronJob {stack.name}-{job.name} does not exist yet")
    starting = (run_can_start(job, seen) for job in jobs)
    if stuck := next((verdict for verdict in starting if verdict), None):
        return stuck
    for job in jobs:
        runs = [run for run in seen.of_kind("Job", component_of_cron_job(job)) if finished_at(run)]
        last = max(runs, key=finished_at, default=None)
        if last and is_failed(last):
            words = words_of([pod for pod in seen.pods(component_of_cron_job(job)) if is_pod_of(pod, name_of(last))])
            failure = f"Job {name_of(last)} of CronJob {job.name} failed: "
            cause = words or kept_cause(stack, "CronJobsReady", name_of(last), failure)
            return Verdict.false(
                Reason.CRON_JOB_FAILED, f"{failure}{cause or condition(last, 'Failed').get('message')}"
            )
    missed = (run_is_not_overdue(job, seen, f"{stack.name}-{job.name}") for job in jobs)
    well = Verdict.true(Reason.HEALTHY, f"{len(jobs)} scheduled jobs are in place")
    return next((verdict for verdict in missed if verdict), well)


def run_can_start(job: CronJob, seen: Observed) -> Verdict | None:
    """Nothing keeps the pod of a run from starting: when its time is up it is gone, and the cause with it."""
    pods = [pod for pod in seen.pods(component_of_cron_job(job)) if pod.get("status", {}).get("phase") == "Pending"]
    return pods_can_run([pod for pod in pods if age_seconds(pod, seen) > STARTING_SECONDS], seen)


def run_is_not_overdue(job: CronJob, seen: Observed, name: str) -> Verdict | None:
    """The last run that was due has been started, or may still be."""
    live = seen.get("CronJob", name)
    if live is None or job.suspend:
        return None
    due = last_due(
        job.schedule, job.time_zone, seen.now - timedelta(seconds=job.starting_deadline_seconds + LATE_SECONDS)
    )
    # A schedule that was made or changed after that moment owes nothing from before.
    made = datetime.fromisoformat(live["metadata"]["creationTimestamp"])
    since = max(made, seen.moments.get(("CronJob", name), made))
    started = live.get("status", {}).get("lastScheduleTime")
    if due is None or due <= since or (started and datetime.fromisoformat(started) >= due):
        return None
    running = len(live.get("status", {}).get("active") or [])
    why = f"; {running} earlier run still runs (concurrencyPolicy {job.concurrency_policy.value})" if running else ""
    last = f"the last one was that of {started}" if started else "none has been started yet"
    said = f"CronJob {name} did not start its run of {due:%Y-%m-%dT%H:%MZ}; {last}{why}"
    return Verdict.false(Reason.CRON_JOB_MISSED, said)


def finished_at(run: Object) -> str:
    """When a Job ended, as Kubernetes writes times (they sort as text); empty while it runs."""
    ends = (condition(run, kind) for kind in ("Complete", "Failed"))
    return next((str(end["lastTransitionTime"]) for end in ends if end.get("status") == "True"), "")


def name_of(obj: Object) -> str:
    """Name of an object."""
    return str(obj["metadata"]["name"])
