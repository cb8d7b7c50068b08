"""What the backend's pods have in common, and what runs when the spec says nothing. Pure."""

from collections.abc import Sequence

from appstack_operator.api import AppStack, CronJob, Migrations, Resources, Worker
from appstack_operator.api.common import EnvVar
from appstack_operator.desired.context import Context
from appstack_operator.desired.environment import environment_checksum, hosts_of
from appstack_operator.desired.pods import (
    container_security,
    host_aliases,
    placement,
    pod_security,
    pull_secrets,
    resources,
)
from appstack_operator.desired.references import REFERENCES_CHECKSUM, references_checksum
from appstack_operator.objects import Object, labels, metadata, selector

ENV_CHECKSUM = "appstack.dev/env-checksum"
METRICS_PORT = 9000

# A stateless pod of a lost node is made anew elsewhere after half a minute, not after Kubernetes' five.
LOST_NODE_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    for state in ("not-ready", "unreachable")
]

# The bundled backend: what a stack without an image of its own runs.
BUNDLED_WORKERS = (Worker(name="bulk", queues=["bulk", "notifications"]),)
BUNDLED_CRON_JOBS = (
    CronJob(name="purge-expired", schedule="17 * * * *"),
    CronJob(name="refresh-statistics", schedule="*/15 * * * *"),
    CronJob(name="sweep-outbox", schedule="*/5 * * * *"),
)


def is_bundled(stack: AppStack) -> bool:
    """Whether the stack runs the reference backend of the operator's configuration."""
    return stack.spec.backend.image is None


def image_of(stack: AppStack, context: Context) -> str:
    """The image of every backend container."""
    return stack.spec.backend.image or context.images.backend


def workers_of(stack: AppStack) -> tuple[Worker, ...]:
    """The declared pools; the bundled one if nothing is declared."""
    if stack.spec.backend.workers is not None:
        return tuple(stack.spec.backend.workers)
    return BUNDLED_WORKERS if is_bundled(stack) else ()


def cron_jobs_of(stack: AppStack) -> tuple[CronJob, ...]:
    """The declared jobs; the bundled ones if nothing is declared."""
    if stack.spec.cron_jobs is not None:
        return tuple(stack.spec.cron_jobs)
    return BUNDLED_CRON_JOBS if is_bundled(stack) else ()


def migrations_of(stack: AppStack) -> Migrations | None:
    """How the image migrates the database; None if it does not."""
    declared = stack.spec.backend.migrations
    if declared is None:
        return Migrations() if is_bundled(stack) else None
    return declared if declared.enabled else None


def build_service_account(stack: AppStack, context: Context) -> Object:
    """The identity of the backend's pods, which need nothing of the API server."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(stack, "backend"),
        "automountServiceAccountToken": False,
    }


def build_container(
    stack: AppStack,
    context: Context,
    name: str,
    *,
    command: list[str],
    args: list[str],
    default_args: list[str],
    env: list[Object],
    wanted: Resources,
) -> Object:
    """One container of the backend's image; probes and ports are the caller's."""
    container: Object = {
        "name": name,
        "image": image_of(stack, context),
        "imagePullPolicy": stack.spec.backend.image_pull_policy.value,
        "args": args if command or args else default_args,
        "env": env,
        "resources": resources(
            wanted,
            requests={"cpu": "50m", "memory": "128Mi"},
            limits={"cpu": "1", "memory": "512Mi"},
        ),
        # A foreign image may write beside its code; ours does not.
        "securityContext": container_security(read_only_root=is_bundled(stack)),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if command:
        container["command"] = command
    if stack.spec.backend.env_from:
        container["envFrom"] = [each.manifest() for each in stack.spec.backend.env_from]
    return container


def build_pod_template(
    stack: AppStack,
    context: Context,
    component: str,
    container: Object,
    *,
    grace_seconds: int,
    own_env: Sequence[EnvVar] = (),
    **more: object,
) -> Object:
    """A pod with one backend container; `own_env` are its variables beside those of all."""
    spec: Object = {
        "serviceAccountName": f"{stack.name}-backend",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": grace_seconds,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        **placement(stack, component),
        **pull_secrets(stack),
        **host_aliases(context, hosts_of(stack, context)),
        **more,
    }
    spec["tolerations"] = [*spec.get("tolerations", []), *LOST_NODE_TOLERATIONS]
    return {
        "metadata": {
            "labels": labels(stack, component),
            "annotations": checksums(stack, context, own_env),
        },
        "spec": spec,
    }


def checksums(stack: AppStack, context: Context, own_env: Sequence[EnvVar]) -> dict[str, str]:
    """Annotations that change with the content of what the pod reads: Kubernetes would restart nothing."""
    annotations = {ENV_CHECKSUM: environment_checksum(stack, context)}
    if references := references_checksum(stack, context.references, own_env):
        annotations[REFERENCES_CHECKSUM] = references
    return annotations


def build_disruption_budget(stack: AppStack, component: str) -> Object:
    """Let a drain take one pod at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(stack, component),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(stack, component)},
        },
    }
