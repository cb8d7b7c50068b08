"""Command line of `make up`, `make down`, `make env` and `make run-operator`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from appstack_lab.up import clusters, demo, stack
from appstack_lab.up.steps import StepFailed, Steps, say

LOGS = clusters.BUILD / "logs"


def main() -> int:
    """Run one command; a failure is told on standard error and in the exit code."""
    arguments = parser().parse_args()
    cluster = clusters.select(arguments.cluster, arguments.name, arguments.kubeconfig)
    try:
        match arguments.command:
            case "up":
                up(cluster, arguments.cluster, arguments.namespace)
            case "cluster":
                only_cluster(cluster, arguments.cluster)
            case "down":
                down(cluster, arguments.cluster, arguments.namespace)
            case "env":
                print_env(cluster)
            case "run-operator":
                run_operator(cluster)
    except StepFailed as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: it goes on where it stopped.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m appstack_lab.up", description=__doc__)
    made.add_argument("--cluster", choices=("lab", "kind", "current"), default="lab")
    made.add_argument("--name", default="appstack", help="name of the cluster (default: %(default)s)")
    made.add_argument("--namespace", default="shop", help="namespace of the example stack (default: %(default)s)")
    made.add_argument("--kubeconfig", type=Path, default=clusters.BUILD / "kubeconfig", help="of a lab or kind cluster")
    made.add_argument("command", choices=("up", "cluster", "down", "env", "run-operator"))
    return made


def environment(cluster: clusters.Cluster) -> dict[str, str]:
    return {**os.environ, "PATH": clusters.tools_path(), "KUBECONFIG": str(cluster.kubeconfig)}


def up(cluster: clusters.Cluster, kind: str, namespace: str) -> None:
    """The whole way: every step is idempotent, so an interrupted run is simply repeated."""
    begun = time.monotonic()
    steps = Steps(total=5, log_dir=LOGS, env=environment(cluster))
    with steps.step(f"Cluster ({kind})", "cluster", "a missing package, a full disk, or no root rights."):
        cluster.ensure(steps)
    steps.env = environment(cluster)  # the first run has just built kubectl and helm
    with steps.step("Images", "images", "a package index out of reach, or a full disk."):
        images = cluster.images(steps)
    with steps.step("Operator", "operator", "the image cannot be pulled, or the nodes are full."):
        stack.install_operator(steps, images)
    with steps.step(
        f"AppStack '{stack.STACK}' in namespace '{namespace}'",
        "stack",
        "a component cannot start; its condition above names the object, docs/runbooks/REASON.md the way out.",
    ):
        stack.apply_example(steps, namespace)
    with steps.step(f"Demo import of {demo.ROWS} products", "demo", "the API or its worker is not serving."):
        numbers = demo.run(steps, namespace)
    say(summary(numbers, namespace, api_address(steps, kind, namespace), time.monotonic() - begun))
    say(steps.run("kubectl", "get", "appstack", "-n", namespace))


def only_cluster(cluster: clusters.Cluster, kind: str) -> None:
    """The first step alone: what the cluster tests start from."""
    steps = Steps(total=1, log_dir=LOGS, env=environment(cluster))
    with steps.step(f"Cluster ({kind})", "cluster", "a missing package, a full disk, or no root rights."):
        cluster.ensure(steps)


def api_address(steps: Steps, kind: str, namespace: str) -> str:
    """Where this machine reaches the API: the lab's Services have a route, others need a port-forward."""
    service = f"service/{stack.STACK}-api"
    if kind == "lab":
        address = steps.run("kubectl", "-n", namespace, "get", service, "-o", "jsonpath={.spec.clusterIP}")
        return f"http://{address}/docs"
    return f"kubectl -n {namespace} port-forward {service} 8000:80, then http://127.0.0.1:8000/docs"


def summary(numbers: demo.Numbers, namespace: str, address: str, seconds: float) -> str:
    """What the person reads at the end: the numbers, the addresses, what to try next."""
    token = f"kubectl -n {namespace} get secret {stack.STACK}-api-token -o jsonpath='{{.data.token}}' | base64 -d"
    rate = numbers.imported / numbers.total_seconds
    return f"""
Up in {seconds:.0f} s. The demo sent {numbers.rows} products: {numbers.imported} imported, {numbers.rejected} rejected;
{numbers.upload_seconds:.1f} s to upload, {numbers.total_seconds:.1f} s until every row was visible ({rate:.0f} rows/s).

  A shell for this cluster   eval "$(make -s env)"
  The API, from this machine {address}
  Its admin token            {token}
  What the stack says        kubectl -n {namespace} describe appstack {stack.STACK}
  Try                        kubectl -n {namespace} delete pod {stack.STACK}-postgres-0   and watch it fail over
  Take it down               make down
"""


def down(cluster: clusters.Cluster, kind: str, namespace: str) -> None:
    """Remove what `up` made."""
    steps = Steps(total=1, log_dir=LOGS, env=environment(cluster))
    if kind == "current":
        with steps.step("Stack and operator", "down", "an object is stuck in deletion; look at its finalizers."):
            stack.remove(steps, namespace)
        return
    with steps.step(f"Cluster ({kind})", "down", "a process that does not end; its pid is in the log."):
        cluster.delete(steps)


def print_env(cluster: clusters.Cluster) -> None:
    """Shell settings for `eval`."""
    settings = environment(cluster)
    for name in ("KUBECONFIG", "PATH"):
        print(f"export {name}={shlex.quote(settings[name])}")


def run_operator(cluster: clusters.Cluster) -> None:
    """Replace the operator of the cluster by one in this terminal, until Ctrl-C."""
    steps = Steps(total=1, log_dir=LOGS, env=environment(cluster))
    with steps.step("Pause the operator in the cluster", "run-operator", "run `make up` first."):
        scale = ("kubectl", "scale", "deployment/appstack-operator", "-n", stack.OPERATOR_NAMESPACE)
        steps.run(*scale, "--replicas=0")
    images = {f"APPSTACK_IMAGE_{name.upper()}": ref for name, ref in clusters.image_refs().items()}
    # It waits until the pods have given the Lease back.
    images["APPSTACK_LEASE_NAMESPACE"] = stack.OPERATOR_NAMESPACE
    say("The operator runs here now; Ctrl-C ends it. `make up` puts it back into the cluster.")
    operator = str(Path(sys.executable).parent / "appstack-operator")
    os.execve(operator, [operator, "run"], {**steps.env, **images})  # noqa: S606


if __name__ == "__main__":
    raise SystemExit(main())
