"""The operator and the example stack on a cluster, through helm and kubectl as a user would."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from appstack_lab.up.clusters import ROOT
from appstack_lab.up.steps import StepFailed, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appstack_lab.up.steps import Steps

CHART = ROOT / "charts" / "appstack-operator"
CRDS = ROOT / "crds"
EXAMPLE = ROOT / "examples" / "minimal.yaml"
OPERATOR_NAMESPACE = "appstack-system"
STACK = "shop"
READY_LIMIT_SECONDS = 900
FIRST_WORD_LIMIT_SECONDS = 90  # an operator that works writes its first conditions within seconds
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def install_operator(steps: Steps, images: dict[str, str]) -> None:
    """CRDs first (helm does not upgrade them), then the chart; returns when the operator's pod is ready."""
    steps.run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    values = [word for name, ref in sorted(images.items()) for word in ("--set", f"images.{name}={ref}")]
    ensure_namespace(steps, OPERATOR_NAMESPACE)
    where = ("--namespace", OPERATOR_NAMESPACE, "--skip-crds")
    steps.run("helm", "upgrade", "--install", "appstack-operator", str(CHART), *where, *values)
    rollout = ("rollout", "status", "deployment/appstack-operator", "-n", OPERATOR_NAMESPACE, "--timeout=3m")
    try:
        steps.run("kubectl", *rollout)
    except StepFailed as failure:
        for words in (("get", "pods", "-o", "wide"), ("logs", "deployment/appstack-operator", "--tail=10")):
            steps.run("kubectl", *words, "-n", OPERATOR_NAMESPACE)
        raise StepFailed(steps.explain("The operator did not become ready.")) from failure


def apply_example(steps: Steps, namespace: str) -> None:
    """Apply `examples/minimal.yaml` and tell each change of its conditions until Ready. Raises StepFailed."""
    ensure_namespace(steps, namespace)
    steps.run("kubectl", "apply", "-n", namespace, "-f", str(EXAMPLE))
    begun = time.monotonic()
    told = ""
    while time.monotonic() - begun < READY_LIMIT_SECONDS:
        stack = json.loads(steps.run("kubectl", "get", "appstack", STACK, "-n", namespace, "-o", "json"))
        if is_ready(stack):
            return
        waiting_for = "; ".join(open_points(stack)) or "the operator to look at it"
        if waiting_for != told:
            say(f"      {time.monotonic() - begun:5.1f} s  {waiting_for}")
            told = waiting_for
        if not conditions(stack) and time.monotonic() - begun > FIRST_WORD_LIMIT_SECONDS:
            break
        time.sleep(1)
    for what in ("pods", "events", "appstack"):
        steps.run("kubectl", "get", what, "-n", namespace)
    steps.run("kubectl", "logs", "deployment/appstack-operator", "-n", OPERATOR_NAMESPACE, "--tail=10")
    seconds = time.monotonic() - begun
    raise StepFailed(steps.explain(f"AppStack {namespace}/{STACK} was not Ready after {seconds:.0f} s: {told}"))


def ensure_namespace(steps: Steps, namespace: str) -> None:
    """Create a namespace with the restricted pod security standard enforced; harmless when it exists."""
    manifest = steps.run("kubectl", "create", "namespace", namespace, "--dry-run=client", "-o", "json")
    steps.run("kubectl", "apply", "-f", "-", stdin=manifest)
    steps.run("kubectl", "label", "--overwrite", "namespace", namespace, RESTRICTED)


def is_ready(stack: dict[str, Any]) -> bool:
    """Ready for the generation that was applied, as `kubectl wait --for=condition=Ready` judges."""
    ready = next((c for c in conditions(stack) if c["type"] == "Ready"), None)
    generation = stack["metadata"]["generation"]
    return ready is not None and ready["status"] == "True" and ready.get("observedGeneration", 0) >= generation


def open_points(stack: dict[str, Any]) -> Iterator[str]:
    """What is still missing: one short phrase per component that is not ready."""
    for condition in conditions(stack):
        is_component = condition["type"] != "Ready" and condition["type"].endswith(("Ready", "Applied"))
        if is_component and condition["status"] != "True":
            yield f"{condition['type']}: {condition['reason']}"


def conditions(stack: dict[str, Any]) -> list[dict[str, Any]]:
    return list(stack.get("status", {}).get("conditions", []))


def remove(steps: Steps, namespace: str) -> None:
    """Take the stack, its data and the operator off a cluster that stays. Safe to repeat."""
    steps.run("kubectl", "delete", "appstack", STACK, "-n", namespace, "--ignore-not-found", "--timeout=5m")
    steps.run("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=5m")
    steps.run("helm", "uninstall", "appstack-operator", "-n", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait")
    steps.run("kubectl", "delete", "namespace", OPERATOR_NAMESPACE, "--ignore-not-found", "--timeout=5m")
    steps.run("kubectl", "delete", "-f", str(CRDS), "--ignore-not-found", "--timeout=5m")
