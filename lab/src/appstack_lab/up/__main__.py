"""Command line of `make up`, `make down`, `make env` and `make run-operator`."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appstack_lab.cluster import NAME_VARIABLE, checked_name
from appstack_lab.failures import LabError, of_the_disk
from appstack_lab.up import access, clusters, demo, stack
from appstack_lab.up.steps import StepFailed, Steps, say

LOGS = clusters.BUILD / "logs"
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Choice:
    """What the person chose on the command line of make; the defaults are the Makefile's."""

    kind: str = "lab"
    name: str = "appstack"
    namespace: str = "shop"

    def __str__(self) -> str:
        """The variables that a further make command needs, each after a space; those left at their default not."""
        variables = {"CLUSTER": "kind", "KIND_NAME": "name", "NAMESPACE": "namespace"}
        chosen = {name: getattr(self, field) for name, field in variables.items()}
        usual = {name: getattr(Choice, field) for name, field in variables.items()}
        return "".join(f" {name}={value}" for name, value in chosen.items() if value != usual[name])

    def check(self) -> None:
        """Refuse names that no cluster or namespace can have, before anything is made. Raises StepFailed."""
        try:
            checked_name(self.name)
        except LabError as error:
            raise StepFailed(f"KIND_NAME: {error}") from None
        if not NAMESPACE.fullmatch(self.namespace):
            raise StepFailed(
                f"NAMESPACE: {self.namespace!r} cannot name a namespace: "
                "use up to 63 of a-z, 0-9 and -, not - at the ends"
            )


def main() -> int:
    """Run one command; a failure is told on standard error and in the exit code."""
    arguments = parser().parse_args()
    choice = Choice(arguments.cluster, arguments.name, arguments.namespace)
    cluster = clusters.select(choice.kind, choice.name, arguments.kubeconfig, arguments.nodes, choice.namespace)
    try:
        choice.check()
        match arguments.command:
            case "up":
                up(cluster, choice)
            case "cluster":
                ensure_cluster(Steps(total=1, log_dir=LOGS, env=environment(cluster)), cluster, choice)
            case "fit":
                require_fitness(cluster, choice)
            case "down":
                down(cluster, choice)
            case "env":
                print_env(cluster, choice)
            case "run-operator":
                run_operator(cluster, choice)
    except StepFailed as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\nFAILED: {of_the_disk(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: it goes on where it stopped.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m appstack_lab.up", description=__doc__)
    made.add_argument("--cluster", choices=("lab", "kind", "current"), default=Choice.kind)
    made.add_argument("--name", default=Choice.name, help="name of the cluster (default: %(default)s)")
    made.add_argument("--namespace", default=Choice.namespace, help="of the example stack (default: %(default)s)")
    made.add_argument(
        "--kubeconfig", type=Path, help="of a lab or kind cluster (default: build/clusters/NAME/kubeconfig)"
    )
    made.add_argument("--nodes", type=int, default=clusters.NODES, help="of a lab cluster (default: %(default)s)")
    made.add_argument("command", choices=("up", "cluster", "fit", "down", "env", "run-operator"))
    return made


def environment(cluster: clusters.Cluster) -> dict[str, str]:
    return {**os.environ, "PATH": clusters.tools_path(), "KUBECONFIG": str(cluster.kubeconfig)}


def up(cluster: clusters.Cluster, choice: Choice) -> None:
    """The whole way: every step is idempotent, so an interrupted run is simply repeated."""
    begun = time.monotonic()
    steps = Steps(total=5, log_dir=LOGS, env=environment(cluster))
    ensure_cluster(steps, cluster, choice)
    steps.env = environment(cluster)  # the first run has just built kubectl and helm
    with steps.step("Images", "images", "a package index out of reach, or a full disk."):
        images = cluster.images(steps)
    with steps.step("Operator", "operator", "the image cannot be pulled, or the nodes are full."):
        stack.install_operator(steps, images)
    with steps.step(
        f"AppStack '{stack.STACK}' in namespace '{choice.namespace}'",
        "stack",
        "a component cannot start; its condition above names the object, docs/runbooks/REASON.md the way out.",
    ):
        stack.apply_example(steps, choice.namespace)
    with steps.step(f"Demo import of {demo.ROWS} products", "demo", "the API or its worker is not serving."):
        numbers = demo.run(steps, choice.namespace)
    address = api_address(steps, choice.kind, choice.namespace)
    say(summary(numbers, choice, address, stack.primary(steps, choice.namespace), time.monotonic() - begun))
    say(steps.run("kubectl", "get", "appstack", "-n", choice.namespace))


def require_fitness(cluster: clusters.Cluster, choice: Choice) -> None:
    """See what the cluster tests would fail of, before an hour of others; what stays must have no AppStacks to lose."""
    steps = Steps(total=1, log_dir=LOGS, env=environment(cluster))
    with steps.step(f"Fit for tests ({choice.kind})", "fit", "the account may not look at CRDs and namespaces."):
        if choice.kind == "kind":
            clusters.require_kind(steps)
        if choice.kind == "current":
            cluster.ensure(steps)
            clusters.require_registry(steps)
            stack.require_vacant(steps)


def ensure_cluster(steps: Steps, cluster: clusters.Cluster, choice: Choice) -> None:
    """The first step: a cluster, or the one that is there."""
    with steps.step(f"Cluster ({choice.kind})", "cluster", "a missing package, a full disk, or no root rights."):
        cluster.ensure(steps)
        clusters.make_latest(cluster.kubeconfig)


def api_address(steps: Steps, kind: str, namespace: str) -> str:
    """Where this machine reaches the API: the lab's Services have a route, others need a port-forward."""
    service = f"service/{stack.STACK}-api"
    if kind == "lab":
        address = steps.run("kubectl", "-n", namespace, "get", service, "-o", "jsonpath={.spec.clusterIP}")
        return f"http://{address}/docs"
    return f"kubectl -n {namespace} port-forward {service} 8000:80, then http://127.0.0.1:8000/docs"


def summary(numbers: demo.Numbers, choice: Choice, address: str, primary: str, seconds: float) -> str:
    """What the person reads at the end: the numbers, the addresses, what to try next."""
    namespace = choice.namespace
    token = f"kubectl -n {namespace} get secret {stack.STACK}-api-token -o jsonpath='{{.data.token}}' | base64 -d"
    rate = numbers.imported / numbers.total_seconds
    return f"""
Up in {seconds:.0f} s. The demo sent {numbers.rows} products: {numbers.imported} imported, {numbers.rejected} rejected;
{numbers.upload_seconds:.1f} s to upload, {numbers.total_seconds:.1f} s until every row was visible ({rate:.0f} rows/s).

  A shell for this cluster   eval "$(make -s env{choice})"
  The API, from this machine {address}
  Its admin token            {token}
  What the stack says        kubectl -n {namespace} describe appstack {stack.STACK}
  Try                        kubectl -n {namespace} delete pod {primary}   and watch it fail over
  Take it down               make down{choice}
"""


def down(cluster: clusters.Cluster, choice: Choice) -> None:
    """Remove what `up` made."""
    steps = Steps(total=1, log_dir=LOGS, env=environment(cluster))
    if choice.kind == "current":
        with steps.step("Stack and operator", "down", "an object is stuck in deletion; look at its finalizers."):
            cluster.find()
            clusters.client_tools(steps)
            access.reach(steps, cluster.kubeconfig)
            stack.remove(steps, choice.namespace)
        return
    with steps.step(f"Cluster ({choice.kind})", "down", "a process that does not end; its pid is in the log."):
        cluster.delete(steps)


def print_env(cluster: clusters.Cluster, choice: Choice) -> None:
    """Shell settings for `eval`; also where there is no cluster yet, which is then told on standard error."""
    try:
        find(cluster, choice)
    except StepFailed as absent:
        print(f"env: {absent}", file=sys.stderr)
    settings = environment(cluster)
    names = ["KUBECONFIG", "PATH"]
    if choice.kind == "lab":
        settings[NAME_VARIABLE] = choice.name
        names.append(NAME_VARIABLE)
    for name in names:
        print(f"export {name}={shlex.quote(settings[name])}")


def find(cluster: clusters.Cluster, choice: Choice) -> None:
    """Find the cluster; where it is not there, its absence comes with the command that makes it. Raises StepFailed."""
    try:
        cluster.find()
    except StepFailed as absent:
        cure = "" if choice.kind == "current" else f" To make it: make up{choice}"
        raise StepFailed(f"{absent}{cure}") from None


def run_operator(cluster: clusters.Cluster, choice: Choice) -> None:
    """Replace the operator of the cluster by one in this terminal, until Ctrl-C."""
    steps = Steps(total=1, log_dir=LOGS, env=environment(cluster))
    with steps.step("Pause the operator in the cluster", "run-operator", f"run `make up{choice}` first."):
        find(cluster, choice)
        access.reach(steps, cluster.kubeconfig)
        settings = settings_of(json.loads(steps.run("kubectl", "get", *stack.DEPLOYMENT, "-o", "json")))
        steps.run("kubectl", "scale", *stack.DEPLOYMENT, "--replicas=0")
    # It waits until the pods have given the Lease back.
    settings["APPSTACK_LEASE_NAMESPACE"] = stack.OPERATOR_NAMESPACE
    say(f"The operator runs here now; Ctrl-C ends it. `make up{choice}` puts it back into the cluster.")
    operator = str(Path(sys.executable).parent / "appstack-operator")
    os.execve(operator, [operator, "run"], {**settings, **steps.env})  # noqa: S606


def settings_of(deployment: dict[str, Any]) -> dict[str, str]:
    """The variables of the operator in the cluster: above all its images, which the nodes can pull."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {
        each["name"]: each["value"] for container in containers for each in container.get("env", ()) if "value" in each
    }


if __name__ == "__main__":
    raise SystemExit(main())
