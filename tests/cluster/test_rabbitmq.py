"""RabbitMQ on real nodes: one that waits on purpose is alive and not ready, one that lost the others finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.kit.kube import wait_until

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube, Object
    from tests.cluster.kit.stack import Stack

HANG_LIMIT_SECONDS = 300
NODE = "shop-rabbitmq-1"
WHO_RUNS = "length(mnesia:system_info(running_db_nodes))"
# Its connections to all others break and are there again at once: too short for `pause_minority`. True once it counts
# itself alone.
LOSE_THE_OTHERS = f"""
    [erlang:disconnect_node(N) || N <- nodes()],
    lists:any(fun(_) -> timer:sleep(20), {WHO_RUNS} =:= 1 end, lists:seq(1, 1500))."""


def test_a_paused_node_is_alive_and_not_ready(shop: Stack, kube: Kube) -> None:
    """A node in a minority stops its application as `stop_app` does; killing it would help nobody."""
    shop.wait_for("HighlyAvailable")
    container = kube.get("pod", NODE, "-n", shop.namespace)["spec"]["containers"][0]
    on_node = ("exec", NODE, "-n", shop.namespace, "--")

    def status() -> Object:
        found: Object = kube.get("pod", NODE, "-n", shop.namespace)["status"]["containerStatuses"][0]
        return found

    def is_alive() -> bool:
        """A busy machine may miss one probe or another; the kubelet bears that, too."""
        kube.run(*on_node, *container["livenessProbe"]["exec"]["command"])
        return True

    before = status()["restartCount"]
    wait_until(is_alive, f"{NODE} is alive", HANG_LIMIT_SECONDS)
    kube.run(*on_node, "rabbitmqctl", "stop_app")
    try:
        wait_until(lambda: not status()["ready"], f"{NODE} is not ready", HANG_LIMIT_SECONDS)
        wait_until(is_alive, f"{NODE} is alive", HANG_LIMIT_SECONDS)
        assert status()["restartCount"] == before
    finally:
        kube.run(*on_node, "rabbitmqctl", "start_app")
    wait_until(lambda: status()["ready"], f"{NODE} is ready again", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")


def test_a_frozen_node_gets_no_new_connections(shop: Stack, kube: Kube) -> None:
    """The kernel goes on to accept them for it, and whoever came would wait."""
    shop.wait_for("HighlyAvailable")
    tell = ("exec", NODE, "-n", shop.namespace, "--", "sh", "-c")
    chosen = ("endpointslices", "-n", shop.namespace, "-l", f"kubernetes.io/service-name={shop.name}-rabbitmq")

    def is_served() -> bool:
        found = [each for piece in kube.get(*chosen)["items"] for each in piece["endpoints"]]
        return any(each["targetRef"]["name"] == NODE and each["conditions"]["ready"] for each in found)

    wait_until(is_served, f"{NODE} is in the Service", HANG_LIMIT_SECONDS)
    kube.run(*tell, "kill -STOP $(pidof beam.smp)")
    try:
        # Before the liveness probe ends it, after a minute and a half.
        wait_until(lambda: not is_served(), f"{NODE} is out of the Service", 60)
    finally:
        kube.run(*tell, "kill -CONT $(pidof beam.smp)")
    wait_until(is_served, f"{NODE} is in the Service again", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")


def test_a_short_cut_leaves_no_node_apart(shop: Stack, kube: Kube) -> None:
    """The bug of others: Mnesia never takes the others back, the application runs on, and nothing tells."""
    shop.wait_for("HighlyAvailable")
    pods = [f"{shop.name}-rabbitmq-{number}" for number in range(3)]

    def said_by(pod: str, question: str) -> str:
        return kube.run("exec", pod, "-n", shop.namespace, "--", "rabbitmqctl", "-q", "eval", question).strip()

    def all_are_together() -> bool:
        return [said_by(pod, f"{WHO_RUNS}.") for pod in pods] == ["3", "3", "3"]

    assert said_by(NODE, LOSE_THE_OTHERS) == "true", "the cut had no effect"
    wait_until(all_are_together, "every node counts all others in", HANG_LIMIT_SECONDS, 2)
    shop.wait_for("HighlyAvailable")
    wait_until(all_are_together, "every node counts all others in for good", HANG_LIMIT_SECONDS, 2)
