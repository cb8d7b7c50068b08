"""Which pod a connection through a Service leads to, as clients of the chaos harness see it: on a real cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from appstack_lab.network import NAMESPACES
from appstack_lab.state import require_cluster

from .conftest import eventually, run

if TYPE_CHECKING:
    from .conftest import LabCluster

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
# A connection to a pod itself, which is another place, and one to the Service: who answers, and who is said to.
CALL = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from tests.chaos.clients.leading import pods_behind
service, pod = sys.argv[2:]
with socket.create_connection((pod, 80), 10), socket.create_connection((service, 80), 10) as end:
    print(end.makefile().readline().strip(), *pods_behind(service, 80))
"""


def test_a_connection_leads_to_the_pod_that_answers(cluster: LabCluster) -> None:
    service = cluster.kubectl("get", "service", "box", "-o", "jsonpath={.spec.clusterIP}")
    addresses = {
        pod: cluster.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}") for pod in ("box-0", "box-1")
    }
    lab = require_cluster(cluster.name)
    inside = ("nsenter", f"--net={NAMESPACES / lab.namespace(lab.nodes[0])}")
    seen: set[str] = set()

    def both_have_answered() -> bool:
        told = run(*inside, sys.executable, "-c", CALL, ROOT, service, addresses["box-0"]).stdout.split()
        assert told[1:] == [addresses[told[0]]]
        seen.add(told[0])
        return len(seen) == len(addresses)

    eventually("an answer of each pod", both_have_answered)
