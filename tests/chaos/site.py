"""The stack under fire on its lab cluster: who leads where, at which addresses, with which passwords."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeVar

from appstack_lab import binaries, state
from appstack_lab.failures import LabError
from tests.chaos.clients.target import Postgres, Redis, Target
from tests.waits import answered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from appstack_lab.cluster import Cluster

Object = dict[str, Any]
T = TypeVar("T")
OPERATOR = ("-n", "appstack-system")
OPERATOR_NAME = "appstack-operator"
IMAGE = "APPSTACK_IMAGE_"
LEADS = {"postgres": "primary", "redis": "master"}
LEAD_SECONDS = 120.0  # a limit for hangs


class Trouble(Exception):
    """A run cannot go on; the message says why."""


class Unanswered(Trouble):
    """The API server, or a service, gave no answer: in the middle of a wait it is asked again."""


def wait_until(question: Callable[[], T | None], what: str, limit_seconds: float, every_seconds: float = 0.5) -> T:
    """Ask until the answer is truthy. Raises Trouble with the last answer after the hang limit."""
    return answered(question, what, limit_seconds, every_seconds, unanswered=Unanswered, given_up=Trouble)


@dataclass(frozen=True)
class Victim:
    """A pod that something is done to."""

    pod: str
    node: str
    address: str
    containers: tuple[str, ...]  # the runtime's ids
    uid: str

    @staticmethod
    def of(pod: Object) -> Victim:
        status = pod["status"]
        ids = [each.get("containerID", "").rpartition("/")[2] for each in status.get("containerStatuses", [])]
        return Victim(
            pod["metadata"]["name"],
            pod["spec"]["nodeName"],
            status.get("podIP", ""),
            tuple(each for each in ids if each),
            pod["metadata"]["uid"],
        )


@dataclass(frozen=True)
class Site:
    """A stack NAME in NAMESPACE on a cluster of the lab."""

    cluster: Cluster
    kubeconfig: Path
    namespace: str
    name: str = "shop"

    @staticmethod
    def at(cluster_name: str, kubeconfig: Path, namespace: str) -> Site:
        """The stack on a cluster that runs. Raises LabError where there is none, or no access to it."""
        cluster = state.require_cluster(cluster_name)
        if not kubeconfig.is_file():
            raise LabError(
                f"there is no {kubeconfig}, which tells how to reach cluster {cluster_name}. `make up "
                f"KIND_NAME={cluster_name}` writes it, and goes on from what is there."
            )
        return Site(cluster, kubeconfig.resolve(), namespace)

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """kubectl WORDS; its standard output. Raises Unanswered."""
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        command = [str(binaries.program("kubectl")), *words]
        done = subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unanswered(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *words: str) -> Object:
        found: Object = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def stack(self) -> Object:
        return self.get("appstack", self.name, "-n", self.namespace)

    def condition(self, kind: str) -> Object:
        """The condition of that type; empty where it is absent."""
        found = self.stack().get("status", {}).get("conditions", [])
        return next((each for each in found if each["type"] == kind), {})

    def is_whole(self) -> bool:
        """Highly available, and nothing under way."""
        conditions = {each["type"]: each["status"] for each in self.stack().get("status", {}).get("conditions", [])}
        return conditions.get("HighlyAvailable") == "True" and conditions.get("Reconciling") != "True"

    def pods(self, component: str) -> list[Object]:
        chosen = f"appstack.dev/stack={self.name},appstack.dev/component={component}"
        found: list[Object] = self.get("pods", "-n", self.namespace, "-l", chosen)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"] and "nodeName" in pod["spec"]]

    def lasting_pods(self) -> list[Object]:
        """Every pod of the namespace but those of Jobs, which end and stay."""
        pods: list[Object] = self.get("pods", "-n", self.namespace)["items"]
        return [p for p in pods if not any(o["kind"] == "Job" for o in p["metadata"].get("ownerReferences", []))]

    def release_note(self) -> str:
        """What the last early failover wrote on PostgreSQL's lock; empty without any."""
        lock = self.get("configmap", f"{self.name}-postgres-leader", "-n", self.namespace)
        return str(lock["metadata"].get("annotations", {}).get("appstack.dev/early-failover", ""))

    def images(self) -> dict[str, str]:
        """The operator's, and what it runs, whatever an upgrade of ours has appended: name -> reference."""
        container = self.get("deployment", OPERATOR_NAME, *OPERATOR)["spec"]["template"]["spec"]["containers"][0]
        values = {each["name"]: each.get("value", "") for each in container["env"] if each["name"].startswith(IMAGE)}
        found = {"operator": container["image"], **values}
        return {name.removeprefix(IMAGE).lower(): value.removesuffix("-chaos") for name, value in found.items()}

    def leader(self, service: str) -> Victim:
        """The pod that leads a service, once somebody does: primary, master, or leader of the chaos queue.

        Any pod for others. Raises Trouble.
        """
        return Victim.of(wait_until(lambda: self.leading(service), f"somebody leads {service}", LEAD_SECONDS)[0])

    def leading(self, service: str) -> list[Object]:
        """Whoever leads a service now. Raises Unanswered."""
        pods = self.pods(service)
        if service in LEADS:
            return [pod for pod in pods if pod["metadata"]["labels"].get("appstack.dev/role") == LEADS[service]]
        if service == "rabbitmq":
            leader = self.queue_leader()
            return [pod for pod in pods if pod["metadata"]["name"] == leader]
        return pods

    def follower(self, service: str) -> Victim:
        """A pod of a service that does not lead it."""
        leading = self.leader(service).pod
        return next(Victim.of(pod) for pod in self.pods(service) if pod["metadata"]["name"] != leading)

    def operator_pods(self) -> list[Object]:
        pods: list[Object] = self.get("pods", *OPERATOR, "-l", f"app.kubernetes.io/name={OPERATOR_NAME}")["items"]
        return [pod for pod in pods if "nodeName" in pod["spec"]]

    def leading_operator(self) -> Victim | None:
        """The operator's pod that holds its Lease; None where nobody does, or somebody outside. Raises Unanswered."""
        leases = self.get("leases", *OPERATOR)["items"]
        holders = [each["spec"].get("holderIdentity") for each in leases if each["metadata"]["name"] == OPERATOR_NAME]
        pod_name = (holders[0] or "").rpartition("_")[0] if holders else ""  # of POD_RANDOM
        return next((Victim.of(pod) for pod in self.operator_pods() if pod["metadata"]["name"] == pod_name), None)

    def places(self, victim: Victim) -> dict[str, Any]:
        """The nodes of the victim, of whoever leads (operator: empty where nobody does), and of the API's pods."""
        operator = self.leading_operator()
        return {
            "victim": victim.node,
            "api": sorted(pod["spec"]["nodeName"] for pod in self.pods("api")),
            "operator": operator.node if operator else "",
            **{service: self.leader(service).node for service in ("postgres", "redis", "rabbitmq")},
        }

    def queue_leader(self) -> str:
        """The pod that leads the queue `chaos`; empty while there is none. Raises Unanswered."""
        return queue_leader(self.target().amqp_url)

    def address_of(self, service: str) -> str:
        return str(self.get("service", service, "-n", self.namespace)["spec"]["clusterIP"])

    def secret(self, name: str) -> dict[str, str]:
        data = self.get("secret", name, "-n", self.namespace)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def target(self, *, is_pooled: bool = False) -> Target:
        """What clients need, by address; those of PostgreSQL's primary come through the pooler, or past it."""
        app, redis, rabbit = (
            self.secret(f"{self.name}-{each}") for each in ("postgres-app", "redis-auth", "rabbitmq-auth")
        )
        sentinels = [pod["metadata"]["name"] for pod in self.pods("redis-sentinel")]
        return Target(
            postgres=Postgres(
                host=self.address_of(f"{self.name}-postgres-{'pooler' if is_pooled else 'rw'}"),
                replica_host=self.address_of(f"{self.name}-postgres-ro"),
                user=app["username"],
                password=app["password"],
                dbname=app["dbname"],
            ),
            redis=Redis(
                sentinels=[self.address_of(each) for each in sentinels],
                master_name=f"{self.namespace}.{self.name}",
                host=self.address_of(f"{self.name}-redis-rw"),
                password=redis["password"],
            ),
            amqp_url=f"amqp://{rabbit['username']}:{rabbit['password']}@{self.address_of(f'{self.name}-rabbitmq')}:5672/",
            api_url=f"http://{self.address_of(f'{self.name}-api')}",
            api_token=self.secret(f"{self.name}-api-token")["token"],
        )


def queue_leader(amqp_url: str, answer_seconds: float = 10.0) -> str:
    """The pod that leads the queue `chaos`; empty while there is none. Raises Unanswered."""
    url = urllib.parse.urlsplit(amqp_url)
    request = urllib.request.Request(f"http://{url.hostname}:15672/api/queues/%2F/chaos?disable_stats=true")
    token = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=answer_seconds) as answer:
            node = json.load(answer).get("leader", "")
    except (OSError, HTTPException, ValueError) as error:
        raise Unanswered(f"RabbitMQ's management API: {error}") from error
    return str(node).partition("@")[2].partition(".")[0]
