"""Where things stand as a fault strikes: the operator that leads, PostgreSQL's primary, Redis' master."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.chaos.clients.redis import fail_over
from tests.chaos.site import OPERATOR, OPERATOR_NAME, Site, Trouble, Victim, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

PATRONI = "/etc/patroni/patroni.yml"
KEPT = "chaos.appstack.dev/replicas"  # on the operator's Deployment while it is away: how many there were
LEAD_ALL = """[rabbit_quorum_queue:transfer_leadership(Q, node()) || Q <- rabbit_amqqueue:list_by_type(quorum)]."""
SPEC = "chaos.appstack.dev/spec"  # on a stack whose spec is changed: the patch that takes it back


def remove_operator(site: Site) -> Callable[[], object]:
    """No operator runs; the way back is returned."""
    replicas = site.get("deployment", OPERATOR_NAME, *OPERATOR)["spec"]["replicas"]
    site.kubectl("annotate", "deployment", OPERATOR_NAME, *OPERATOR, "--overwrite", f"{KEPT}={replicas}")
    scale(site, 0)
    return partial(bring_operator_back, site)


def bring_operator_back(site: Site) -> bool:
    """The operator runs as before it was put away; whether it had been. Harmless otherwise."""
    found = site.get("deployment", OPERATOR_NAME, *OPERATOR)
    replicas = found["metadata"].get("annotations", {}).get(KEPT)
    if replicas is None:
        return False
    scale(site, int(replicas))
    site.kubectl("annotate", "deployment", OPERATOR_NAME, *OPERATOR, f"{KEPT}-")
    return True


def scale(site: Site, replicas: int) -> None:
    """Scale the operator and wait until its pods are so many."""
    site.kubectl("scale", "deployment", OPERATOR_NAME, *OPERATOR, f"--replicas={replicas}")
    chosen = (*OPERATOR, "-l", f"app.kubernetes.io/name={OPERATOR_NAME}")

    def is_done() -> bool:
        pods = site.get("pods", *chosen)["items"]
        ready = [p for p in pods if all(c["ready"] for c in p["status"].get("containerStatuses", [{"ready": False}]))]
        return len(pods) == replicas and len(ready) == replicas

    wait_until(is_done, f"{replicas} operator pods", 180)


def bring_operator_to(site: Site, node: str) -> None:
    """Have the operator that leads on this node, and another one waiting on another. Raises Trouble."""
    deadline = time.monotonic() + 240
    while True:
        pods, leader = [Victim.of(pod) for pod in site.operator_pods()], site.leading_operator()
        there, elsewhere = ([pod for pod in pods if (pod.node == node) is is_there] for is_there in (True, False))
        if leader and leader.node == node and elsewhere:
            return
        if len(pods) < 2 or time.monotonic() > deadline:
            raise Trouble(f"of {len(pods)} operators none leads on {node} while another one waits elsewhere")
        waiting = next((pod for pod in pods if leader and pod.pod != leader.pod), None)
        if leader and there and elsewhere:
            replace(site, leader.pod, OPERATOR_NAME, OPERATOR)  # it gives its Lease back, to the one that waits there
        elif waiting:
            closed = [node] if there else others_than(site, node)
            replace(site, waiting.pod, OPERATOR_NAME, OPERATOR, closed)
        time.sleep(2)


def others_than(site: Site, node: str) -> list[str]:
    """All nodes but one."""
    return [each.name for each in site.cluster.nodes if each.name != node]


def replace(site: Site, pod: str, deployment: str, where: Sequence[str], closed: Collection[str] = ()) -> None:
    """Have another pod of a Deployment in place of this one, on a node that is not closed to it."""
    with ExitStack() as opened:
        for each in closed:
            opened.callback(site.kubectl, "uncordon", each)
            site.kubectl("cordon", each)
        site.kubectl("delete", "pod", pod, *where)
        site.kubectl("rollout", "status", f"deployment/{deployment}", *where, "--timeout=120s")


def bring_api_to(site: Site, node: str) -> None:
    """Have a pod of the API on this node, and another one elsewhere: what users notice would else be luck."""
    pods = site.pods("api")
    if all(pod["spec"]["nodeName"] != node for pod in pods):
        replace(site, pods[0]["metadata"]["name"], f"{site.name}-api", ("-n", site.namespace), others_than(site, node))
    elif all(pod["spec"]["nodeName"] == node for pod in pods):
        replace(site, pods[0]["metadata"]["name"], f"{site.name}-api", ("-n", site.namespace), [node])


def bring_queues_to(site: Site, node: str) -> None:
    """Have every quorum queue led by the pod on this node: where they are led decides for how long publishers wait."""
    pod = next(each["metadata"]["name"] for each in site.pods("rabbitmq") if each["spec"]["nodeName"] == node)
    deadline = time.monotonic() + 120
    while True:
        site.kubectl("exec", "-n", site.namespace, pod, "--", "rabbitmqctl", "eval", LEAD_ALL)
        if site.queue_leader() == pod:
            return
        if time.monotonic() > deadline:
            raise Trouble(f"the queues are not led by {pod}")
        time.sleep(1)


def bring_operator_off(site: Site, node: str) -> None:
    """Have the operator that leads on another node than this one, and the others waiting for it. Raises Trouble."""
    deadline = time.monotonic() + 120
    while (leader := site.leading_operator()) is None or leader.node == node:
        if time.monotonic() > deadline:
            raise Trouble(f"no operator leads on another node than {node}")
        if leader is not None:
            site.kubectl("delete", "pod", leader.pod, *OPERATOR)  # it gives its Lease back, to one that waits elsewhere
        time.sleep(2)
    site.kubectl("rollout", "status", f"deployment/{OPERATOR_NAME}", *OPERATOR, "--timeout=120s")


def change_spec(site: Site, change: Mapping[str, Any]) -> None:
    """Patch the stack's spec; the way back is kept on the stack, for whoever comes after a run that was killed."""
    back = json.dumps(way_back(site.stack()["spec"], change))
    patch_stack(site, {"metadata": {"annotations": {SPEC: back}}, "spec": change})


def restore_spec(site: Site) -> bool:
    """The spec is as before it was changed; whether it had been. Harmless otherwise."""
    back = site.stack()["metadata"].get("annotations", {}).get(SPEC)
    if back is None:
        return False
    patch_stack(site, {"metadata": {"annotations": {SPEC: None}}, "spec": json.loads(back)})
    return True


def patch_stack(site: Site, patch: Mapping[str, Any]) -> None:
    site.kubectl("patch", "appstack", site.name, "-n", site.namespace, "--type=merge", "-p", json.dumps(patch))


def way_back(now: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that undoes another one."""
    return {
        key: way_back(now.get(key) or {}, value) if isinstance(value, dict) else now.get(key)
        for key, value in change.items()
    }


def bring_together(site: Site) -> None:
    """Have PostgreSQL's primary on the node of Redis' master, which first moves to a node that can hold both.

    Sentinel alone may never do it: between equal replicas it chooses by their ids, so two of three may take turns.
    """
    deadline = time.monotonic() + 120
    while (node := site.leader("redis").node) != site.leader("postgres").node:
        if time.monotonic() > deadline:
            raise Trouble("PostgreSQL's primary and Redis' master did not come to one node")
        there = [pod["metadata"]["name"] for pod in site.pods("postgres") if pod["spec"]["nodeName"] == node]
        if there:
            switch_over(site, there[0])
        else:
            fail_over(site.target().redis)
        time.sleep(5)  # roles are told by labels; and a Sentinel refuses another failover so soon


def bring_apart(site: Site, node: str) -> None:
    """Have Redis' master on another node than this one."""
    deadline = time.monotonic() + 120
    while site.leader("redis").node == node:
        if time.monotonic() > deadline:
            raise Trouble(f"Redis' master does not leave {node}")
        fail_over(site.target().redis)
        time.sleep(5)


def switch_over(site: Site, candidate: str) -> None:
    """Have Patroni move PostgreSQL's primary to this pod."""
    words = ("patronictl", "-c", PATRONI, "switchover", f"{site.name}-postgres", "--candidate", candidate, "--force")
    site.kubectl("exec", "-n", site.namespace, candidate, "--", *words)
