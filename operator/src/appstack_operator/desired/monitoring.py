"""Objects for the Prometheus operator: what to scrape, and when to wake somebody. Pure."""

from collections.abc import Sequence

from appstack_operator.api import AppStack, Mode
from appstack_operator.desired.backend import cron_jobs_of, is_bundled, workers_of
from appstack_operator.desired.migrations import COMPONENT as MIGRATE
from appstack_operator.desired.pooler import COMPONENT as POOLER
from appstack_operator.desired.redis import SENTINEL
from appstack_operator.desired.workers import component_of_worker
from appstack_operator.objects import COMPONENT_LABEL, STACK_LABEL, Object, metadata

MONITORING = "monitoring.coreos.com/v1"
# Condition, what it is (1 True, 0 False, -1 Unknown) -> how long that may last, how urgent it is, what it means.
ALERTS = (
    ("Ready", 0, "1m", "critical", "users of the stack are not served"),
    ("Ready", -1, "5m", "critical", "nobody can tell whether users are served: the operator cannot look at the stack"),
    ("HighlyAvailable", 0, "15m", "warning", "the next loss of a pod or node ends the service"),
    ("Stalled", 1, "5m", "warning", "the stack does not move on by itself: somebody has to act"),
    ("MigrationsApplied", 0, "15m", "warning", "the database does not have the schema of the wanted image"),
    ("CronJobsReady", 0, "15m", "warning", "a scheduled job failed or was missed"),
)
NAMES = {1: "{}", 0: "Not{}", -1: "{}Unknown"}  # of the alert
# What Kubernetes puts behind the name of a pod's owner; before the five letters it cuts what is longer.
LONGEST_START, RANDOM = 58, "[a-z0-9]{5}"


def build_monitoring(stack: AppStack) -> list[Object]:
    """All of it; none if the spec wants none. Where the CRDs are absent, nothing of this is made."""
    if not stack.spec.monitoring.enabled:
        return []
    objects = [build_rules(stack)]
    if stack.spec.postgres.mode is Mode.MANAGED:
        objects.append(build_monitor(stack, "postgres", ["postgres"], "patroni"))
    if stack.spec.rabbitmq.mode is Mode.MANAGED:
        objects.append(build_monitor(stack, "rabbitmq", ["rabbitmq"], "prometheus"))
    if is_bundled(stack):  # of another image nobody knows whether it has metrics
        components = ["api", *(component_of_worker(pool) for pool in workers_of(stack))]
        objects.append(build_monitor(stack, "backend", components, "metrics"))
    return objects


def build_monitor(stack: AppStack, name: str, components: Sequence[str], port: str) -> Object:
    """Scrape one port of the pods of some components."""
    chosen = {
        "matchLabels": {STACK_LABEL: stack.name},
        "matchExpressions": [{"key": COMPONENT_LABEL, "operator": "In", "values": sorted(components)}],
    }
    return {
        "apiVersion": MONITORING,
        "kind": "PodMonitor",
        "metadata": metadata(stack, name),
        "spec": {
            "selector": chosen,
            "podTargetLabels": [STACK_LABEL, COMPONENT_LABEL],
            "podMetricsEndpoints": [{"port": port, "path": "/metrics", "interval": "30s"}],
        },
    }


def build_rules(stack: AppStack) -> Object:
    """Alerts on the stack's conditions, which the operator publishes, and on memory that runs out."""
    place = f'namespace="{stack.namespace}",stack="{stack.name}"'
    alerts = [
        build_alert(
            f"AppStack{NAMES[value].format(condition)}",
            f'appstack_condition{{{place},condition="{condition}"}} == {value}',
            lasts,
            severity,
            f"AppStack {stack.namespace}/{stack.name}: {meaning}",
        )
        for condition, value, lasts, severity, meaning in ALERTS
    ]
    # An operator that is away, or that nobody scrapes, lets all alerts above fall silent.
    unknown = f'absent(appstack_condition{{{place},condition="Ready"}})'
    meaning = f"nobody tells how AppStack {stack.namespace}/{stack.name} is: no operator is at work, or none is scraped"
    alerts.append(build_alert("AppStackUnwatched", unknown, "10m", "warning", meaning))
    pods = f'namespace="{stack.namespace}",pod=~"{pattern_of_pods(stack)}",container!=""'
    used = f"container_memory_working_set_bytes{{{pods}}} / (container_spec_memory_limit_bytes{{{pods}}} > 0) > 0.9"
    meaning = f"a container of AppStack {stack.namespace}/{stack.name} uses more than 90 % of its memory limit"
    alerts.append(build_alert("AppStackMemoryNearLimit", used, "15m", "warning", meaning))
    return {
        "apiVersion": MONITORING,
        "kind": "PrometheusRule",
        "metadata": metadata(stack, "monitoring", name=stack.name),
        "spec": {"groups": [{"name": f"{stack.namespace}.{stack.name}", "rules": alerts}]},
    }


def pattern_of_pods(stack: AppStack) -> str:
    """A regular expression for the names of the stack's pods, and of no other stack's (shop-b); PromQL anchors it."""
    spec = stack.spec
    sets = [name for name in ("postgres", "redis", "rabbitmq") if getattr(spec, name).mode is Mode.MANAGED]
    sets += [SENTINEL] if "redis" in sets else []
    deployments = ["api", *(component_of_worker(pool) for pool in workers_of(stack))]
    deployments += [POOLER] if spec.postgres.pooler.enabled else []
    patterns = [
        *(f"{stack.name}-{name}-[0-9]+" for name in sets),
        *(pattern_of_generated(f"{stack.name}-{name}", "[a-z0-9]") for name in deployments),
        pattern_of_generated(f"{stack.name}-{MIGRATE}", "[0-9a-f]"),
        *(pattern_of_generated(f"{stack.name}-{job.name}", "[0-9]") for job in cron_jobs_of(stack)),
    ]
    return "|".join(patterns)


def pattern_of_generated(owner: str, mark: str) -> str:
    """The names of the pods of a Deployment or of a CronJob: what lies between has a mark of up to ten characters."""
    start = f"{owner}-"
    if len(start) + 11 <= LONGEST_START:
        return f"{start}{mark}+-{RANDOM}"
    return f"{start[:LONGEST_START]}{mark}*-?{RANDOM}"


def build_alert(name: str, expression: str, lasts: str, severity: str, summary: str) -> Object:
    """One alert."""
    look = "kubectl describe appstack tells the reason; docs/runbooks/REASON.md what to do"
    return {
        "alert": name,
        "expr": expression,
        "for": lasts,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": look},
    }
