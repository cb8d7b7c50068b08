"""RabbitMQ behind its guard: real nodes, each at an address of its own, found one cluster and never a second one."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.desired.rabbitmq import build_configuration
from tests.backend.kit.network import network
from tests.backend.kit.processes import wait_until
from tests.backend.kit.rootfs import LOCALHOST, Box
from tests.backend.kit.servers import PASSWORD, PATH, RABBITMQ_USER, START_SECONDS
from tests.unit.operator.factories import a_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.backend.kit.network import Network
    from tests.backend.kit.rootfs import Server

SIZE = 3
DOMAIN = "shop-rabbitmq-pods.shop.svc"
PODS = {f"shop-rabbitmq-{number}": f"10.99.0.{1 + number}" for number in range(SIZE)}
HOSTS = LOCALHOST + "".join(f"{address} {pod}.{DOMAIN}\n" for pod, address in PODS.items())
GUARD = "/usr/local/lib/appstack/guard.py"
STARTED, WAITS, FORGETS = "Server startup complete", "this node is empty and waits", "to forget what"
# The guard looks once in four seconds where nobody answers, and a node that founds a cluster is up within ten.
REFUSES_SECONDS = 20.0


class Node:
    """One pod: the image's own start, with the configuration that the operator writes."""

    def __init__(self, folder: Path, pod: str, network: int) -> None:
        self.name, self.address = f"rabbit@{pod}.{DOMAIN}", PODS[pod]
        self._box = Box("rabbitmq", RABBITMQ_USER, folder, network, HOSTS)
        self._beside = Box("rabbitmq", RABBITMQ_USER, folder / "beside", network, HOSTS)
        self._beside.write(".erlang.cookie", PASSWORD)
        stack = a_stack(rabbitmq={"replicas": SIZE})
        for file, text in build_configuration(stack, kept_free_bytes=50_000_000).items():
            self._box.write(file, text)
        settings = {
            "HOME": "/scratch",
            "POD_NAME": pod,
            "PEER_DOMAIN": DOMAIN,
            "CLUSTER_SIZE": SIZE,
            "DEFAULT_USER": "app",
            "DEFAULT_PASS": PASSWORD,
            "ERLANG_COOKIE": PASSWORD,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_CONFIG_FILE": "/scratch/rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": "/scratch/conf.d",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/scratch/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": "/scratch/config",
            "RABBITMQ_MNESIA_BASE": "/scratch/mnesia",
            "RABBITMQ_PID_FILE": "/scratch/pid",
            "RABBITMQ_LOG_BASE": "/scratch/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }
        self._environment = ["env", PATH, *(f"{name}={value}" for name, value in settings.items())]
        self._server: Server | None = None
        self._said_before = 0

    def begin(self) -> None:
        """Start it."""
        self._said_before = len(self._log())
        self._server = self._box.start(*self._environment, "python3", GUARD)

    def kill(self) -> None:
        """As a crash does it."""
        if self._server is not None:
            self._server.stop()
            self._box.remove("pid")

    def lose_volume(self) -> None:
        """Everything it knew."""
        shutil.rmtree(self._box.folder / "scratch" / "mnesia")

    def has_said(self, words: str) -> bool:
        """Whether it has, since it was begun; one that has ended is told at once."""
        assert self._server is not None
        self._server.check()
        return words in self._log()[self._said_before :]

    def wait_until_it_says(self, words: str) -> None:
        wait_until(lambda: self.has_said(words), f"{self.name} says: {words}", START_SECONDS)

    def cluster(self) -> tuple[str, frozenset[str]]:
        """Which cluster it belongs to, by the id that was drawn when that was founded, and which nodes run there."""
        drawn = {each["name"]: each["value"] for each in self._ask("list_global_parameters")}
        return drawn["internal_cluster_id"], frozenset(self._ask("cluster_status")["running_nodes"])

    def _ask(self, command: str) -> Any:
        said = self._beside.run(
            *self._environment, "rabbitmqctl", "--quiet", "--formatter=json", "--node", self.name, command
        )
        return json.loads(said)

    def _log(self) -> str:
        log = self._box.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def nodes(hosts: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three that were created together."""
    folder = tmp_path_factory.mktemp("nodes")
    found = [Node(folder / pod, pod, hosts.add(address)) for pod, address in PODS.items()]
    try:
        for node in found:
            node.begin()
        for node in found:
            node.wait_until_it_says(STARTED)
        yield found
    finally:
        for node in found:
            node.kill()


def clusters(nodes: list[Node]) -> set[tuple[str, frozenset[str]]]:
    """All that there are."""
    return {node.cluster() for node in nodes}


def test_an_emptied_first_node_is_forgotten_and_joins_the_cluster_that_runs(nodes: list[Node]) -> None:
    first = nodes[0]
    before = clusters(nodes)
    assert len(before) == 1
    first.kill()
    first.lose_volume()
    first.begin()
    first.wait_until_it_says(STARTED)
    wait_until(lambda: clusters(nodes) == before, "all three are in the one cluster of before", START_SECONDS)
    assert first.has_said(FORGETS), "it would be refused as the node that it was"


def test_an_emptied_first_node_that_reaches_nobody_founds_no_cluster_and_joins_once_it_does(
    nodes: list[Node], hosts: Network
) -> None:
    first = nodes[0]
    before = clusters(nodes)
    assert len(before) == 1
    first.kill()
    first.lose_volume()
    hosts.cut(first.address)
    try:
        first.begin()
        time.sleep(REFUSES_SECONDS)
        assert not first.has_said(STARTED)
        assert first.has_said(WAITS)
    finally:
        hosts.mend(first.address)
    first.wait_until_it_says(STARTED)
    wait_until(lambda: clusters(nodes) == before, "all three are in the one cluster of before", START_SECONDS)
