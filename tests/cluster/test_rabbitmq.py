"""RabbitMQ's probes on real nodes: one that waits on purpose is alive and not ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.kit.kube import wait_until

if TYPE_CHECKING:
    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

NODE = "shop-rabbitmq-1"


def test_a_paused_node_is_alive_and_not_ready(shop: Stack, kube: Kube) -> None:
    """A node in a minority stops its application as `stop_app` does; killing it would help nobody."""
    shop.wait_for("HighlyAvailable")
    container = kube.get("pod", NODE, "-n", shop.namespace)["spec"]["containers"][0]
    on_node = ("exec", NODE, "-n", shop.namespace, "--")
    is_ready = lambda: kube.get("pod", NODE, "-n", shop.namespace)["status"]["containerStatuses"][0]["ready"]  # noqa: E731
    alive = container["livenessProbe"]["exec"]["command"]
    kube.run(*on_node, *alive)
    kube.run(*on_node, "rabbitmqctl", "stop_app")
    try:
        wait_until(lambda: not is_ready(), f"{NODE} is not ready", 60)
        kube.run(*on_node, *alive)
    finally:
        kube.run(*on_node, "rabbitmqctl", "start_app")
    wait_until(is_ready, f"{NODE} is ready again", 120)
    shop.wait_for("HighlyAvailable")
