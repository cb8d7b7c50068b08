"""A whole stack of which everything runs, what is then taken from it, and how it is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from appstack_operator.assess.conditions import Work, judge
from appstack_operator.assess.stack import assess_stack
from appstack_operator.desired.stack import build_stack
from appstack_operator.observed import Observed, PostgresAnswers, PostgresMember
from tests.unit.operator.factories import a_context, healthy_answers, made, observed, pods

if TYPE_CHECKING:
    from appstack_operator.api import AppStack
    from appstack_operator.assess.verdict import Verdict
    from appstack_operator.objects import Object

DONE = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}

FAILED = {
    "conditions": [
        {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many",
         "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
}  # fmt: skip


def status_of(manifest: Object) -> dict[str, Any]:
    """The status of an object with which nothing is wrong."""
    replicas = manifest.get("spec", {}).get("replicas", 0)
    counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "currentReplicas")
    numbers = dict.fromkeys(counts, replicas) | {"observedGeneration": 1}
    return {"Job": DONE, "Deployment": numbers, "StatefulSet": numbers}.get(manifest["kind"], {})


def a_running_stack(stack: AppStack, **replaced: Any) -> Observed:
    """Everything of a stack, made and well."""
    objects = [made(stack, item.manifest, **status_of(item.manifest)) for item in build_stack(stack, a_context())]
    spec = stack.spec
    for component, count in (
        ("postgres", spec.postgres.instances),
        ("redis", spec.redis.replicas),
        ("redis-sentinel", spec.redis.sentinels),
        ("rabbitmq", spec.rabbitmq.replicas),
        ("postgres-pooler", spec.postgres.pooler.replicas if spec.postgres.pooler.enabled else 0),
        ("api", spec.backend.api.replicas),
        ("worker-bulk", 2),
    ):
        objects += pods(stack, component, count)
    return replace(observed(*objects, **healthy_answers(stack)), **replaced)


def with_object(seen: Observed, obj: Object) -> Observed:
    """The same, with one object added or replaced."""
    kind, name = obj["kind"], obj["metadata"]["name"]
    return replace(seen, objects={**seen.objects, kind: {**seen.objects.get(kind, {}), name: obj}})


def without_pods(seen: Observed, component: str) -> Observed:
    """The same, with no pod of a component."""
    left = {pod["metadata"]["name"]: pod for pod in seen.of_kind("Pod") if pod not in seen.pods(component)}
    return replace(seen, objects={**seen.objects, "Pod": left})


def the_job(stack: AppStack, **status: Any) -> Object:
    wanted = next(item.manifest for item in build_stack(stack, a_context()) if item.manifest["kind"] == "Job")
    return made(stack, wanted, **status)


def alone(state: str) -> PostgresAnswers:
    """A primary without a standby, whose server is in this state."""
    return PostgresAnswers((PostgresMember("shop-postgres-0", role="primary", state=state, timeline=1),))


def verdicts(stack: AppStack, seen: Observed, work: Work | None = None) -> dict[str, Verdict]:
    return judge(stack, seen, assess_stack(stack, seen, a_context()), work or Work())
