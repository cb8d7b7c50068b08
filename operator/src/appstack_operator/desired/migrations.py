"""The migration Job: one for each combination of image, command, arguments and environment. Pure."""

from appstack_operator.api import AppStack, Resources
from appstack_operator.desired.backend import build_container, build_pod_template, image_of, migrations_of
from appstack_operator.desired.context import Context
from appstack_operator.desired.environment import container_environment, from_secret
from appstack_operator.objects import Object, content_hash, labels, metadata

COMPONENT = "migrate"


def build_migrations(stack: AppStack, context: Context) -> list[Object]:
    """The Job of the wanted image, if that image migrates anything."""
    return [build_job(stack, context)] if migrations_of(stack) else []


def job_name(stack: AppStack, context: Context) -> str:
    """The same for the same work; another image or command is another Job, and a fresh try."""
    migrations = migrations_of(stack)
    work = {
        "image": image_of(stack, context),
        "command": migrations.command if migrations else [],
        "args": migrations.args if migrations else [],
        "env": [item.manifest() for item in stack.spec.backend.env],
        "envFrom": [item.manifest() for item in stack.spec.backend.env_from],
    }
    return f"{stack.name}-{COMPONENT}-{content_hash(work, length=10)}"


def build_job(stack: AppStack, context: Context) -> Object:
    """A Job that is tried again when its pod is lost, and fails for good after a few failures of its own."""
    migrations = migrations_of(stack)
    assert migrations is not None
    env = container_environment(stack, context, COMPONENT)
    if stack.spec.postgres.pooler.enabled:
        # Migrations take locks and set session state: they go straight to the primary.
        direct = from_secret("DATABASE_URL", f"{stack.name}-postgres-app", "uri")
        ours = from_secret("DATABASE_URL", f"{stack.name}-env", "DATABASE_URL")
        env = [direct if entry == ours else entry for entry in env]
    container = build_container(
        stack,
        context,
        COMPONENT,
        command=migrations.command,
        args=migrations.args,
        default_args=["migrate"],
        env=env,
        wanted=Resources(),
    )
    template = build_pod_template(stack, context, COMPONENT, container, grace_seconds=30, restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(stack, COMPONENT, name=job_name(stack, context)) | {"labels": labels(stack, COMPONENT)},
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": migrations.timeout_seconds,
            "podFailurePolicy": {"rules": [LOST_PODS_DO_NOT_COUNT]},
            "template": template,
        },
    }


LOST_PODS_DO_NOT_COUNT: Object = {
    "action": "Ignore",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}
