"""Asks RabbitMQ's management API which nodes run and how long the queues are. Silence is an answer."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from yarl import URL

from appstack_operator.api import AppStack
from appstack_operator.assess.pods import is_ready
from appstack_operator.desired.context import Credentials
from appstack_operator.objects import Object
from appstack_operator.observed import RabbitmqAnswers, RabbitmqNode

MANAGEMENT_PORT = 15672
USERNAME = "app"
TIMEOUT = aiohttp.ClientTimeout(total=2)
# Lengths are read from the queues themselves, not from the statistics, which are seconds old.
TOTALS = "disable_stats=true&enable_queue_totals=true"
QUEUES = f"/api/queues/%2F?{TOTALS}"
FAILURES = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError)


async def observe_rabbitmq(stack: AppStack, pods: Sequence[Object], credentials: Credentials) -> RabbitmqAnswers:
    """The answer of the first node that gives one; ready nodes are asked first."""
    errors, is_late = [], False
    async with aiohttp.ClientSession(timeout=TIMEOUT, headers=authorization(credentials)) as session:
        for pod in sorted(pods, key=lambda pod: (not is_ready(pod), pod["metadata"]["name"])):
            try:
                return await ask_node(session, pod)
            except FAILURES as error:
                errors.append(f"{pod['metadata']['name']}: {in_words(error)}")
                is_late |= isinstance(error, TimeoutError)
    return RabbitmqAnswers(error="; ".join(errors) or "no node exists", is_late=is_late)


async def observe_external_queues(secret: Mapping[str, str]) -> RabbitmqAnswers:
    """How long the queues of somebody else's broker are; without its management API nobody knows."""
    amqp, management = urlsplit(secret.get("RABBITMQ_URL", "")), urlsplit(secret.get("RABBITMQ_MANAGEMENT_URL", ""))
    if not management.hostname:
        return RabbitmqAnswers(error="the Secret of the external broker names no RABBITMQ_MANAGEMENT_URL")
    vhost = unquote(amqp.path[1:]) or "/"
    user = management if management.username else amqp
    place = management.netloc.rpartition("@")[2]
    url = f"{management.scheme}://{place}{management.path.rstrip('/')}/api/queues/{quote(vhost, safe='')}?{TOTALS}"
    header = basic(unquote(user.username or ""), unquote(user.password or ""))
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT, headers=header) as session:
            queues = await get(session, URL(url, encoded=True))
        return RabbitmqAnswers(backlog=backlog_of(queues), is_external=True)
    except aiohttp.ClientResponseError as error:
        return RabbitmqAnswers(error=f"RABBITMQ_MANAGEMENT_URL ({place}) answers {error.status} {error.message}")
    except FAILURES as error:
        said = f"RABBITMQ_MANAGEMENT_URL ({place}): {str(error) or 'no answer within 2 s'}"
        return RabbitmqAnswers(error=said, is_late=isinstance(error, TimeoutError))


def authorization(credentials: Credentials) -> dict[str, str]:
    """The header that lets us in."""
    return basic(USERNAME, credentials.rabbitmq)


def basic(user: str, password: str) -> dict[str, str]:
    """HTTP's basic authentication."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


async def ask_node(session: aiohttp.ClientSession, pod: Object) -> RabbitmqAnswers:
    """What one node says about the cluster."""
    root = f"http://{pod['status']['podIP']}:{MANAGEMENT_PORT}"
    nodes = await get(session, f"{root}/api/nodes?columns=name,running,partitions,mem_alarm,disk_free_alarm")
    queues = await get(session, root + QUEUES)
    return RabbitmqAnswers(nodes=tuple(node_of(node) for node in nodes), backlog=backlog_of(queues))


async def get(session: aiohttp.ClientSession, url: str | URL) -> Any:
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
