"""Asks RabbitMQ's management API which nodes run and how long the queues are. Silence is an answer."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from appstack_operator.api import AppStack
from appstack_operator.assess.pods import is_ready
from appstack_operator.desired.context import Credentials
from appstack_operator.objects import Object
from appstack_operator.observed import RabbitmqAnswers, RabbitmqNode

MANAGEMENT_PORT = 15672
USERNAME = "app"
TIMEOUT = aiohttp.ClientTimeout(total=2)
# Lengths are read from the queues themselves, not from the statistics, which are seconds old.
QUEUES = "/api/queues/%2F?disable_stats=true&enable_queue_totals=true"
FAILURES = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError)


async def observe_rabbitmq(stack: AppStack, pods: Sequence[Object], credentials: Credentials) -> RabbitmqAnswers:
    """The answer of the first node that gives one; ready nodes are asked first."""
    errors = []
    async with aiohttp.ClientSession(timeout=TIMEOUT, headers=authorization(credentials)) as session:
        for pod in sorted(pods, key=lambda pod: (not is_ready(pod), pod["metadata"]["name"])):
            try:
                return await ask_node(session, pod)
            except FAILURES as error:
                errors.append(f"{pod['metadata']['name']}: {in_words(error)}")
    return RabbitmqAnswers(error="; ".join(errors) or "no node exists")


def authorization(credentials: Credentials) -> dict[str, str]:
    """The header that lets us in."""
    token = base64.b64encode(f"{USERNAME}:{credentials.rabbitmq}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


async def ask_node(session: aiohttp.ClientSession, pod: Object) -> RabbitmqAnswers:
    """What one node says about the cluster."""
    root = f"http://{pod['status']['podIP']}:{MANAGEMENT_PORT}"
    nodes = await get(session, f"{root}/api/nodes?columns=name,running,partitions,mem_alarm,disk_free_alarm")
    queues = await get(session, root + QUEUES)
    return RabbitmqAnswers(nodes=tuple(node_of(node) for node in nodes), backlog=backlog_of(queues))


async def get(session: aiohttp.ClientSession, url: str) -> Any:
    """One answer of the management API."""
    async with session.get(url, raise_for_status=True) as response:
        return await response.json()


def node_of(facts: Mapping[str, Any]) -> RabbitmqNode:
    """RabbitMQ's words in ours."""
    alarms = {"memory": facts.get("mem_alarm"), "disk": facts.get("disk_free_alarm")}
    return RabbitmqNode(
        name=facts["name"],
        pod=facts["name"].partition("@")[2].partition(".")[0],
        is_running=bool(facts.get("running")),
        partitions=tuple(facts.get("partitions") or ()),
        alarms=tuple(name for name, is_raised in alarms.items() if is_raised is True),
    )


def backlog_of(queues: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Queue -> ready + unacknowledged messages; a queue without a leader has no numbers and is left out."""
    return {
        queue["name"]: queue["messages_ready"] + queue["messages_unacknowledged"]
        for queue in queues
        if "messages_ready" in queue and "messages_unacknowledged" in queue
    }


def in_words(error: Exception) -> str:
    """Why there is no answer."""
    if isinstance(error, KeyError):
        return "the pod has no address yet"
    return str(error) or "no answer within 2 s"
