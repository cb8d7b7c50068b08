"""Turning the API's autoscaling on and off hands its number of pods over; it never dips on the way."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Any

from tests.cluster.kit.kube import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.kit.kube import Kube
    from tests.cluster.kit.stack import Stack

HANG_LIMIT_SECONDS = 300


@dataclass
class Seen:
    """Every state of a Deployment that the API server told of: pods that are wanted, that there are, that are ready."""

    states: list[tuple[int, int, int]] = field(default_factory=list)

    def has(self, pods: int) -> bool:
        """Whether so many pods are wanted now, and ready."""
        wanted, _, ready = self.states[-1]
        return wanted == ready == pods

    def lowest(self) -> tuple[int, int]:
        """A pod that misses a probe on a busy machine is there all the same."""
        wanted, there, _ = zip(*self.states, strict=True)
        return min(wanted), min(there)


@contextmanager
def watching(kube: Kube, shop: Stack) -> Iterator[Seen]:
    """Follow the API's Deployment."""
    columns = r'jsonpath={.spec.replicas} {.status.replicas} {.status.readyReplicas}{"\n"}'
    command = ["get", "deployment", f"{shop.name}-api", "-n", shop.namespace, "--watch", "-o", columns]
    seen = Seen()
    with subprocess.Popen([kube.kubectl_path, *command], env=kube.env, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                wanted, there, ready = (int(each or 0) for each in line.removesuffix("\n").split(" "))
                seen.states.append((wanted, there, ready))

        reader = Thread(target=read)
        reader.start()
        try:
            wait_until(lambda: seen.states, "the watch has begun", HANG_LIMIT_SECONDS)
            yield seen
        finally:
            process.terminate()
            reader.join()


def change(shop: Stack, kube: Kube, autoscaling: dict[str, Any] | None) -> None:
    patch = json.dumps({"spec": {"backend": {"api": {"autoscaling": autoscaling}}}})
    kube.run("patch", "appstack", shop.name, "-n", shop.namespace, "--type=merge", "-p", patch)


def test_the_number_of_api_pods_never_dips_while_an_autoscaler_comes_and_goes(shop: Stack, kube: Kube) -> None:
    shop.wait_for("HighlyAvailable")
    wait_until(lambda: len(shop.pods("api")) == 2, "two API pods alone", HANG_LIMIT_SECONDS)
    with watching(kube, shop) as seen:
        try:
            change(shop, kube, {"minReplicas": 3, "maxReplicas": 4})
            wait_until(lambda: seen.has(3) or seen.has(4), "the autoscaler has its least number", HANG_LIMIT_SECONDS)
            shop.wait_until_settled()
            scaler = kube.get("hpa", f"{shop.name}-api", "-n", shop.namespace)
            assert scaler["status"]["desiredReplicas"] >= 3, "it was the autoscaler that raised it"
        finally:
            change(shop, kube, None)
        wait_until(lambda: seen.has(2), "the spec's number is back", HANG_LIMIT_SECONDS)
        shop.wait_until_settled()
        assert not kube.items("hpa", "-n", shop.namespace)
        change(shop, kube, {"minReplicas": 2, "maxReplicas": 4})  # nothing to do for it: the number just stays
        shop.wait_until_settled()
        change(shop, kube, None)
        shop.wait_until_settled()
        wait_until(lambda: seen.has(2), "the spec's number is there in the end", HANG_LIMIT_SECONDS)
        assert seen.lowest() == (2, 2), seen.states
