"""The worker pools: one Deployment each, scaled on its own. Pure."""

from functools import partial

from appstack_operator.api import AppStack, Worker
from appstack_operator.desired.backend import (
    METRICS_PORT,
    build_container,
    build_disruption_budget,
    build_pod_template,
    is_bundled,
    workers_of,
)
from appstack_operator.desired.context import Context
from appstack_operator.desired.environment import container_environment
from appstack_operator.desired.pods import http_probe
from appstack_operator.objects import Object, metadata, selector

# A worker has no door to knock at: one that runs counts as ready at once, and may be about to crash. Only what has been
# ready for so long without a crash takes the place of an old one (a restart of its container begins that anew).
STEADY_SECONDS = 10


def component_of_worker(worker: Worker) -> str:
    """The component of a pool: also the last part of its Deployment's name."""
    return f"worker-{worker.name}"


def build_workers(stack: AppStack, context: Context) -> list[Object]:
    """All objects of all pools."""
    return [
        obj
        for worker in workers_of(stack)
        for obj in (
            build_disruption_budget(stack, component_of_worker(worker)),
            build_deployment(stack, context, worker),
        )
    ]


def build_deployment(stack: AppStack, context: Context, worker: Worker) -> Object:
    """A pool whose pods finish the message in hand before they go."""
    component = component_of_worker(worker)
    template = build_pod_template(
        stack,
        context,
        component,
        build_worker_container(stack, context, worker),
        grace_seconds=worker.termination_grace_period_seconds,
        own_env=worker.env,
    )
    template["spec"]["topologySpreadConstraints"][0]["matchLabelKeys"] = ["pod-template-hash"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(stack, component),
        "spec": {
            "replicas": replicas_of(worker, context),
            "selector": {"matchLabels": selector(stack, component)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": STEADY_SECONDS,
            "progressDeadlineSeconds": 300,
            "revisionHistoryLimit": 3,
            "template": template,
        },
    }


def replicas_of(worker: Worker, context: Context) -> int:
    """The spec's number; with autoscaling what the backlog asks for."""
    if worker.autoscaling is None:
        return worker.replicas
    return context.worker_replicas.get(worker.name, worker.autoscaling.min_replicas)


def build_worker_container(stack: AppStack, context: Context, worker: Worker) -> Object:
    """The container; only the bundled image is known to have a port to probe."""
    component = component_of_worker(worker)
    queues = ["--queues", ",".join(worker.queues)] if worker.queues else []
    container = build_container(
        stack,
        context,
        "worker",
        command=worker.command,
        args=worker.args,
        default_args=["worker", *queues],
        env=container_environment(stack, context, component, worker.env),
        wanted=worker.resources,
    )
    if is_bundled(stack):
        check = partial(http_probe, "/metrics", "metrics")
        container |= {
            "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
            "startupProbe": check(period_seconds=2, failures=90),
            "livenessProbe": check(period_seconds=20, failures=3),
            "readinessProbe": check(period_seconds=10, failures=2),
        }
    return container
