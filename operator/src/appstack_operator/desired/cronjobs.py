"""The scheduled jobs, in the backend's image. Pure."""

from appstack_operator.api import AppStack, CronJob
from appstack_operator.desired.backend import build_container, build_pod_template, cron_jobs_of
from appstack_operator.desired.context import Context
from appstack_operator.desired.environment import container_environment
from appstack_operator.objects import Object, labels, metadata


def component_of_cron_job(job: CronJob) -> str:
    """The component of a job's pods: apart from all others, so that no Service selects them."""
    return f"cron-{job.name}"


def build_cron_jobs(stack: AppStack, context: Context) -> list[Object]:
    """All CronJobs."""
    return [build_cron_job(stack, context, job) for job in cron_jobs_of(stack)]


def build_cron_job(stack: AppStack, context: Context, job: CronJob) -> Object:
    """One CronJob: its runs never overlap unless the spec says so."""
    component = component_of_cron_job(job)
    container = build_container(
        stack,
        context,
        "job",
        command=job.command,
        args=job.args,
        default_args=["job", job.name],
        env=container_environment(stack, context, component),
        wanted=job.resources,
    )
    template = build_pod_template(stack, context, component, container, grace_seconds=30, restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(stack, component, name=f"{stack.name}-{job.name}"),
        "spec": {
            "schedule": job.schedule,
            "timeZone": job.time_zone,
            "suspend": job.suspend,
            "concurrencyPolicy": job.concurrency_policy.value,
            "startingDeadlineSeconds": job.starting_deadline_seconds,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 2,
            "jobTemplate": {
                "metadata": {"labels": labels(stack, component)},
                "spec": {
                    "backoffLimit": 2,
                    "activeDeadlineSeconds": job.active_deadline_seconds,
                    "template": template,
                },
            },
        },
    }
