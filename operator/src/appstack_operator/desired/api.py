"""The HTTP API: Deployment, Service, disruption budget, and the HPA if one is asked for. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.desired.backend import (
    METRICS_PORT,
    build_container,
    build_disruption_budget,
    build_pod_template,
    is_bundled,
)
from appstack_operator.desired.context import Context
from appstack_operator.desired.environment import container_environment
from appstack_operator.desired.pods import http_probe
from appstack_operator.objects import Object, metadata, selector

COMPONENT = "api"
# It has answered that it is ready; who crashes over the first requests shall not have replaced an old one yet.
STEADY_SECONDS = 5


def build_api(stack: AppStack, context: Context) -> list[Object]:
    """All objects of the API."""
    objects = [build_service(stack), build_disruption_budget(stack, COMPONENT), build_deployment(stack, context)]
    if stack.spec.backend.api.autoscaling:
        objects.append(build_autoscaler(stack))
    return objects


def build_deployment(stack: AppStack, context: Context) -> Object:
    """API pods that are replaced one by one, each new one ready before an old one goes."""
    api = stack.spec.backend.api
    spec: Object = {
        "selector": {"matchLabels": selector(stack, COMPONENT)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "minReadySeconds": STEADY_SECONDS,
        "progressDeadlineSeconds": 300,
        "revisionHistoryLimit": 3,
        "template": build_pod_template(
            stack, context, COMPONENT, build_api_container(stack, context), grace_seconds=60
        ),
    }
    spec["template"]["spec"]["topologySpreadConstraints"][0]["matchLabelKeys"] = ["pod-template-hash"]
    if api.autoscaling is None:
        spec["replicas"] = api.replicas  # with an HPA the number is the HPA's
    elif context.api_is_at_zero:
        spec["replicas"] = api.autoscaling.min_replicas  # but that: at zero an HPA does nothing at all
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(stack, COMPONENT),
        "spec": spec,
    }


def build_api_container(stack: AppStack, context: Context) -> Object:
    """The container with its probes, and a pause before it stops so that no request meets a closed door."""
    api = stack.spec.backend.api
    port = str(api.port)
    own_port = {"PORT": port, "API_PORT": port} if is_bundled(stack) else {"PORT": port}
    container = build_container(
        stack,
        context,
        COMPONENT,
        command=api.command,
        args=api.args,
        default_args=["api"],
        env=container_environment(stack, context, COMPONENT, more=own_port),
        wanted=api.resources,
    )
    container["ports"] = [{"name": "http", "containerPort": api.port, "protocol": "TCP"}]
    if is_bundled(stack):
        container["ports"].append({"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"})
    return container | {
        "startupProbe": http_probe(api.liveness_path, "http", period_seconds=2, failures=90),
        "livenessProbe": http_probe(api.liveness_path, "http", period_seconds=10, failures=3),
        # A frozen pod leaves the Service before a client that waits for it for 10 s comes again.
        "readinessProbe": http_probe(api.readiness_path, "http", period_seconds=2, failures=2, timeout_seconds=3),
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    }


def build_service(stack: AppStack) -> Object:
    """One address for all API pods: port 80."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(stack, COMPONENT),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(stack, COMPONENT),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def build_autoscaler(stack: AppStack) -> Object:
    """The HPA that owns the number of API pods."""
    wanted = stack.spec.backend.api.autoscaling
    assert wanted is not None
    cpu = {"type": "Utilization", "averageUtilization": wanted.target_cpu_utilization_percentage}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(stack, COMPONENT),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{stack.name}-{COMPONENT}"},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": cpu}}],
        },
    }
