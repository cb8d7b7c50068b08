"""The operator and the example stack on a cluster, through helm and kubectl as a user would."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from appstack_lab.progress import heartbeat
from appstack_lab.up.clusters import ROOT
from appstack_lab.up.steps import StepFailed, say

if TYPE_CHECKING:
    from appstack_lab.up.steps import Steps

CHART = ROOT / "charts" / "appstack-operator"
CRDS = ROOT / "crds"
EXAMPLE = ROOT / "examples" / "minimal.yaml"
OPERATOR_NAMESPACE = "appstack-system"
TEST_NAMESPACES = ("shop", "struck")  # of the cluster tests
STACK = "shop"
CRD_NAME = "appstacks.appstack.dev"
READY_LIMIT_SECONDS = 900
SILENCE_LIMIT_SECONDS = 60  # of the API server, while we wait: one that starts again answers sooner
FIRST_WORD_LIMIT_SECONDS = 90  # an operator that works writes its first conditions within seconds
OPERATOR = "appstack-operator"  # the chart's release, its Deployment and its Lease
POD_NAME = re.compile(rf"{OPERATOR}-[a-z0-9]+-[a-z0-9]{{5}}")
DEPLOYMENT = (f"deployment/{OPERATOR}", "-n", OPERATOR_NAMESPACE)
# Of all pods: only the one that holds the Lease has much to say.
LOGS = ("logs", "-l", "app.kubernetes.io/name=appstack-operator", "--prefix", "--tail=10")
MADE_BY = {"appstack.dev/made-by": "make-up"}
OURS = ",".join(f"{name}={value}" for name, value in MADE_BY.items())
LABELS_OF_NAMESPACE = {**MADE_BY, "pod-security.kubernetes.io/enforce": "restricted"}
# A helm that was killed leaves a release that is pending for ever; a living one needs seconds.
PENDING = f"owner=helm,name={OPERATOR},status in (pending-install,pending-upgrade,pending-rollback)"
PENDING_SECONDS = 60


def install_operator(steps: Steps, images: dict[str, str]) -> None:
    """CRDs first (helm does not upgrade them), then the chart; returns when the operator's pod is ready."""
    steps.run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    values = [word for name, ref in sorted(images.items()) for word in ("--set", f"images.{name}={ref}")]
    ensure_namespace(steps, OPERATOR_NAMESPACE)
    where = ("--namespace", OPERATOR_NAMESPACE, "--skip-crds")
    if steps.run("kubectl", "get", *DEPLOYMENT, "--ignore-not-found", "-o", "name"):
        # `make run-operator` scaled it to nothing; helm does not take a field back from kubectl.
        steps.run("kubectl", "scale", *DEPLOYMENT, f"--replicas={chart_replicas()}")
    forget_unfinished_release(steps)
    # What was set by hand, or by a row of `make chaos`, is this command's to set back.
    by_force = ("--server-side=true", "--force-conflicts")
    steps.run("helm", "upgrade", "--install", OPERATOR, str(CHART), *where, *by_force, *values)
    say("      waiting for the operator's pod …")
    rollout = ("rollout", "status", "deployment/appstack-operator", "-n", OPERATOR_NAMESPACE, "--timeout=3m")
    try:
        steps.run("kubectl", *rollout)
    except StepFailed as failure:
        for words in (("get", "pods", "-o", "wide"), LOGS):
            steps.run("kubectl", *words, "-n", OPERATOR_NAMESPACE)
        raise StepFailed(steps.explain("The operator did not become ready.")) from failure
    tell_foreign_holder(steps)


def forget_unfinished_release(steps: Steps) -> None:
    """Take back what a helm that was killed had begun: until then every other one is refused."""
    found = json.loads(steps.run("kubectl", "get", "secrets", "-n", OPERATOR_NAMESPACE, "-l", PENDING, "-o", "json"))
    for release in found["items"]:
        begun = datetime.fromisoformat(release["metadata"]["creationTimestamp"])
        if (datetime.now(UTC) - begun).total_seconds() > PENDING_SECONDS:
            steps.tell("An installation of the operator was broken off; it is begun again.")
            steps.run("kubectl", "delete", "secret", "-n", OPERATOR_NAMESPACE, release["metadata"]["name"])


def tell_foreign_holder(steps: Steps) -> None:
    """Say so when an operator outside the cluster holds the Lease: the pods just installed only wait for it."""
    lease = ("get", "lease", OPERATOR, "-n", OPERATOR_NAMESPACE, "--ignore-not-found")
    holder = steps.run("kubectl", *lease, "-o", "jsonpath={.spec.holderIdentity}").strip()
    pods = steps.run("kubectl", "get", "pods", "-n", OPERATOR_NAMESPACE, "-o", "name").split()
    if is_foreign(holder, pods):
        steps.tell(f"NOTE: '{holder}' holds the Lease and works, not the operator installed now: its pods wait for it.")
        steps.tell("If that is `make run-operator` in another terminal, end it there with Ctrl-C to hand over.")


def is_foreign(holder: str, pods: list[str]) -> bool:
    """Whether the Lease's holder (HOST_RANDOM) is no pod of the operator, not even one that has just gone."""
    host = holder.rpartition("_")[0]
    return bool(host) and f"pod/{host}" not in pods and not POD_NAME.fullmatch(host)


def chart_replicas() -> int:
    """How many operator pods the chart asks for."""
    return int(yaml.safe_load((CHART / "values.yaml").read_text())["replicas"])


def apply_example(steps: Steps, namespace: str) -> None:
    """Apply `examples/minimal.yaml` and tell each change of its conditions until Ready. Raises StepFailed."""
    ensure_namespace(steps, namespace)
    steps.run("kubectl", "apply", "-n", namespace, "-f", str(EXAMPLE))
    begun = answered = time.monotonic()
    stack: dict[str, Any] = {"metadata": {}}
    told = ""
    look = ("get", "appstack", STACK, "-n", namespace, "-o", "json", "--request-timeout=30s")
    with heartbeat(lambda: waiting_for(stack, with_messages=True), steps.tell) as heard:
        while time.monotonic() - begun < READY_LIMIT_SECONDS:
            try:
                stack = json.loads(steps.run("kubectl", *look, is_poll=True))
            except StepFailed:
                if time.monotonic() - answered > SILENCE_LIMIT_SECONDS:
                    raise
                time.sleep(1)
                continue
            answered = time.monotonic()
            if is_ready(stack):
                return
            if waiting_for(stack) != told:
                told = waiting_for(stack)
                heard()
                steps.tell(f"{time.monotonic() - begun:5.1f} s  {told}")
                steps.note(f"{time.monotonic() - begun:5.1f} s  {json.dumps(conditions(stack))}")
            if not conditions(stack) and time.monotonic() - begun > FIRST_WORD_LIMIT_SECONDS:
                break
            time.sleep(1)
    for what in ("pods", "events", "appstack"):
        steps.run("kubectl", "get", what, "-n", namespace)
    steps.run("kubectl", *LOGS, "-n", OPERATOR_NAMESPACE)
    seconds = time.monotonic() - begun
    missing = waiting_for(stack, with_messages=True)
    raise StepFailed(steps.explain(f"AppStack {namespace}/{STACK} was not Ready after {seconds:.0f} s: {missing}"))


def primary(steps: Steps, namespace: str) -> str:
    """The pod of the PostgreSQL primary, as the stack's status names it now."""
    where = ("appstack", STACK, "-n", namespace)
    return steps.run("kubectl", "get", *where, "-o", "jsonpath={.status.postgres.primary}").strip()


def ensure_namespace(steps: Steps, namespace: str) -> None:
    """Create a namespace with the restricted pod security standard enforced; one that exists is left as it is."""
    if steps.run("kubectl", "get", "namespace", namespace, "--ignore-not-found", "-o", "name"):
        return
    metadata = {"name": namespace, "labels": LABELS_OF_NAMESPACE}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    # In one piece: without the labels it would be taken for somebody else's, neither restricted nor removed again.
    steps.run("kubectl", "create", "-f", "-", stdin=json.dumps(made))


def is_ready(stack: dict[str, Any]) -> bool:
    """Ready for the generation that was applied, as `kubectl wait --for=condition=Ready` judges."""
    ready = next((c for c in conditions(stack) if c["type"] == "Ready"), None)
    generation = stack["metadata"]["generation"]
    return ready is not None and ready["status"] == "True" and ready.get("observedGeneration", 0) >= generation


def waiting_for(stack: dict[str, Any], with_messages: bool = False) -> str:
    """What is still missing: one short phrase per component that is not ready, with its message where asked for."""
    points = []
    for condition in conditions(stack):
        is_component = condition["type"] != "Ready" and condition["type"].endswith(("Ready", "Applied"))
        if is_component and condition["status"] != "True":
            message = f" ({condition['message']})" if with_messages and condition.get("message") else ""
            points.append(f"{condition['type']}: {condition['reason']}{message}")
    return "; ".join(points) or "the operator to look at it"


def conditions(stack: dict[str, Any]) -> list[dict[str, Any]]:
    return list(stack.get("status", {}).get("conditions", []))


def require_vacant(steps: Steps) -> None:
    """See that a cluster that stays knows no AppStacks: tests would put an operator of theirs in the place of its own.

    Raises StepFailed with the stacks, or the namespaces of the tests' names, that are there.
    """
    if not steps.run("kubectl", "get", "crd", CRD_NAME, "--ignore-not-found", "-o", "name"):
        wanted = (*TEST_NAMESPACES, OPERATOR_NAMESPACE)
        taken = steps.run("kubectl", "get", "namespaces", *wanted, "--ignore-not-found", "-o", "name").split()
        if taken:
            found = ", ".join(each.partition("/")[2] for each in taken)
            raise StepFailed(
                f"Tests make the namespaces {', '.join(wanted)} and delete them; this cluster has of these: {found}. "
                "Use another cluster, or delete them if nobody needs what is in them."
            )
        return
    names = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}"
    there = steps.run("kubectl", "get", "appstacks", "--all-namespaces", "-o", names).split()
    raise StepFailed(
        f"This cluster knows AppStacks already ({', '.join(there) or 'none now, but their CRD is there'}). Tests put "
        "this tree's operator in the place of the one there, kill it, and break stacks: use a cluster without. "
        "What an interrupted run left is taken away by: "
        "make down CLUSTER=current NAMESPACE=struck && make down CLUSTER=current"
    )


def remove(steps: Steps, namespace: str) -> None:
    """Take the example stack, and what else `make up` made, off a cluster that stays. Safe to repeat.

    Namespaces that were there before stay; so do the operator and the CRD while other stacks need them. Without such
    stacks both go, also where they were there before: `make up` has put this tree's in their place.
    """
    if not steps.run("kubectl", "get", "crd", CRD_NAME, "--ignore-not-found", "-o", "name"):
        say("      no AppStacks are known to this cluster")
        return
    steps.run("kubectl", "delete", "appstack", STACK, "-n", namespace, "--ignore-not-found", "--timeout=5m")
    delete_namespace(steps, namespace)
    others = steps.run("kubectl", "get", "appstacks", "--all-namespaces", "--no-headers", "-o", "name").split()
    if others:
        say(f"      the operator stays: {len(others)} other AppStacks need it")
        return
    steps.run("helm", "uninstall", "appstack-operator", "-n", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait")
    delete_namespace(steps, OPERATOR_NAMESPACE)
    steps.run("kubectl", "delete", "-f", str(CRDS), "--ignore-not-found", "--timeout=5m")


def delete_namespace(steps: Steps, namespace: str) -> None:
    """Delete a namespace that `make up` made."""
    made = ("delete", "namespace", "-l", OURS, "--field-selector", f"metadata.name={namespace}")
    steps.run("kubectl", *made, "--ignore-not-found", "--timeout=5m")
