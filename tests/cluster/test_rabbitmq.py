"""RabbitMQ on real nodes: one that waits on purpose is alive and not ready, one that lost the others finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.kit.kube import wait_until

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

HANG_LIMIT_SECONDS = 300
NODE = "shop-rabbitmq-1"
# Its connections to all others break and are there again at once: too short for `pause_minority`.
LOSE_THE_OTHERS = "[erlang:disconnect_node(N) || N <- nodes()], timer:sleep(1000), "
WHO_RUNS = 'io:format("~p", [length(mnesia:system_info(running_db_nodes))]).'


def test_a_paused_node_is_alive_and_not_ready(shop: Stack, kube: Kube) -> None:
    """A node in a minority stops its application as `stop_app` does; killing it would help nobody."""
    shop.wait_for("HighlyAvailable")
    container = kube.get("pod", NODE, "-n", shop.namespace)["spec"]["containers"][0]
    on_node = ("exec", NODE, "-n", shop.namespace, "--")

    def is_ready() -> bool:
        return bool(kube.get("pod", NODE, "-n", shop.namespace)["status"]["containerStatuses"][0]["ready"])

    alive = container["livenessProbe"]["exec"]["command"]
    kube.run(*on_node, *alive)
    kube.run(*on_node, "rabbitmqctl", "stop_app")
    try:
        wait_until(lambda: not is_ready(), f"{NODE} is not ready", HANG_LIMIT_SECONDS)
        kube.run(*on_node, *alive)
    finally:
        kube.run(*on_node, "rabbitmqctl", "start_app")
    wait_until(is_ready, f"{NODE} is ready again", HANG_LIMIT_SECONDS)
    shop.wait_for("HighlyAvailable")


def test_a_short_cut_leaves_no_node_apart(shop: Stack, kube: Kube) -> None:
    """The bug of others: Mnesia never takes the others back, the application runs on, and nothing tells."""
    shop.wait_for("HighlyAvailable")
    pods = [f"{shop.name}-rabbitmq-{number}" for number in range(3)]

    def counts() -> list[str]:
        """How many nodes each counts in; empty for one that does not answer."""
        found = []
        for pod in pods:
            try:
                found.append(kube.run("exec", pod, "-n", shop.namespace, "--", "rabbitmqctl", "-q", "eval", WHO_RUNS))
            except AssertionError:
                found.append("")
        return [each.strip()[:1] for each in found]

    eval_ = ("exec", NODE, "-n", shop.namespace, "--", "rabbitmqctl", "-q", "eval")
    assert kube.run(*eval_, LOSE_THE_OTHERS + WHO_RUNS).strip()[:1] == "1", "the cut had no effect"
    wait_until(lambda: counts() == ["3", "3", "3"], "every node counts all others in", HANG_LIMIT_SECONDS, 2)
    shop.wait_for("HighlyAvailable")
    assert counts() == ["3", "3", "3"]
