"""Asks RabbitMQ's management API which nodes run and how long the queues are. Silence is an answer."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from yarl import URL

from appstack_operator.api import AppStack
from appstack_operator.desired.context import Credentials
from appstack_operator.objects import Object
from appstack_operator.observed import RabbitmqAnswers, RabbitmqNode
from appstack_operator.services.http import TIMEOUT, session, url_of

MANAGEMENT_PORT = 15672
USERNAME = "app"
# Lengths are read from the queues themselves, not from the statistics, which are seconds old.
TOTALS = "disable_stats=true&enable_queue_totals=true"
QUEUES = f"/api/queues/%2F?{TOTALS}"
Get = Callable[[URL], Awaitable[Any]]
FAILURES = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Word:
    """What one node says: of every member whether it runs, and of itself more."""

    runs: Mapping[str, bool]
    partitions: tuple[str, ...]
    alarms: tuple[str, ...]

    @property
    def counts(self) -> tuple[str, ...]:
        """The nodes that run."""
        return tuple(name for name, is_running in self.runs.items() if is_running)


async def observe_rabbitmq(stack: AppStack, pods: Sequence[Object], credentials: Credentials) -> RabbitmqAnswers:
    """What every node says; where they differ, the word of the one that sees most of them run."""
    errors: dict[str, Exception] = {}
    words: dict[str, Word] = {}
    async with management(credentials) as get:

        async def ask(pod: Object) -> None:
            try:
                words[pod_name(pod)] = await ask_node(get, pod)
            except FAILURES as error:
                errors[pod_name(pod)] = error

        await asyncio.gather(*map(ask, pods))
        answering = [pod for pod in pods if pod_name(pod) in words]
        speakers = sorted(answering, key=lambda pod: (-len(words[pod_name(pod)].counts), pod_name(pod)))
        is_late = any(isinstance(error, TimeoutError) for error in errors.values())
        if speakers:
            nodes = nodes_of(words, pod_name(speakers[0]))
            return await with_backlog(RabbitmqAnswers(nodes=nodes, is_late=is_late), get, speakers)
    told = [f"{name}: {in_words(error)}" for name, error in sorted(errors.items())]
    return RabbitmqAnswers(error="; ".join(told) or "no node exists", is_late=is_late)


async def with_backlog(answers: RabbitmqAnswers, get: Get, speakers: Sequence[Object]) -> RabbitmqAnswers:
    """How much waits, by the first of two that tells: each asks the queues' leaders, and may wait for one just lost."""
    told = []
    for pod in speakers[:2]:
        try:
            queues = await get(place_of(pod, QUEUES))
            return replace(answers, backlog=backlog_of(queues), in_hand=in_hand_of(queues))
        except FAILURES as error:
            told.append(f"{pod_name(pod)}: {in_words(error)}")
    return replace(answers, backlog_error="; ".join(told))


def nodes_of(words: Mapping[str, Word], speaker: str) -> tuple[RabbitmqNode, ...]:
    """Every member as the speaker's pod tells of it, with what it says itself where it answers."""
    nodes = []
    for name, is_running in words[speaker].runs.items():
        node, own = RabbitmqNode(name, pod_of(name), is_running), words.get(pod_of(name))
        if own is not None:
            node = replace(node, partitions=own.partitions, alarms=own.alarms, counts=own.counts)
        nodes.append(node)
    return tuple(nodes)


async def ask_backlog(pods: Sequence[Object], credentials: Credentials) -> RabbitmqAnswers | None:
    """The queues alone, by the first node that tells; None if none does. The cheap question between the others."""
    async with management(credentials) as get:
        for pod in pods:
            try:
                queues = await get(place_of(pod, QUEUES))
                return RabbitmqAnswers(backlog=backlog_of(queues), in_hand=in_hand_of(queues))
            except FAILURES:
                continue
    return None


async def observe_external_queues(secret: Mapping[str, str]) -> RabbitmqAnswers:
    """How long the queues of somebody else's broker are; without its management API nobody knows."""
    try:
        amqp, management = (urlsplit(secret.get(key, "")) for key in ("RABBITMQ_URL", "RABBITMQ_MANAGEMENT_URL"))
    except ValueError:
        return RabbitmqAnswers(error="an URL in the Secret of the external broker cannot be read")
    if not management.hostname:
        return RabbitmqAnswers(error="the Secret of the external broker names no RABBITMQ_MANAGEMENT_URL")
    vhost = unquote(amqp.path[1:]) or "/"
    user = management if management.username else amqp
    place = management.netloc.rpartition("@")[2]
    url = f"{management.scheme}://{place}{management.path.rstrip('/')}/api/queues/{quote(vhost, safe='')}?{TOTALS}"
    header = basic(unquote(user.username or ""), unquote(user.password or ""))
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT, headers=header) as http,
            http.get(URL(url, encoded=True), raise_for_status=True) as response,
        ):
            queues = await response.json()
        return RabbitmqAnswers(backlog=backlog_of(queues), in_hand=in_hand_of(queues), is_external=True)
    except aiohttp.ClientResponseError as error:
        return RabbitmqAnswers(error=f"RABBITMQ_MANAGEMENT_URL ({place}) answers {error.status} {error.message}")
    except FAILURES as error:
        said = f"RABBITMQ_MANAGEMENT_URL ({place}): {str(error) or 'no answer within 2 s'}"
        return RabbitmqAnswers(error=said, is_late=isinstance(error, TimeoutError))


@asynccontextmanager
async def management(credentials: Credentials) -> AsyncIterator[Get]:
    """Asks a stack's management API: URL -> its answer."""
    header = authorization(credentials)
    async with session() as http:

        async def get(url: URL) -> Any:
            async with http.get(url, headers=header, raise_for_status=True) as response:
                return await response.json()

        yield get


def authorization(credentials: Credentials) -> dict[str, str]:
    """The header that lets us in."""
    return basic(USERNAME, credentials.rabbitmq)


def basic(user: str, password: str) -> dict[str, str]:
    """HTTP's basic authentication."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


async def ask_node(get: Get, pod: Object) -> Word:
    """Ask the node of one pod.

    Only the second question makes it ask the others, one of which may have been lost just now and keep it waiting:
    then the node has spoken all the same.
    """
    members = await get(place_of(pod, "/api/nodes?disable_stats=true&columns=name,running"))
    runs = {str(member["name"]): bool(member.get("running")) for member in members}
    me = next((name for name in runs if pod_of(name) == pod_name(pod)), None)
    if me is None:  # of a cluster that has forgotten it
        return Word(runs, (), ())
    try:
        facts = await get(place_of(pod, f"/api/nodes/{me}?columns=partitions,mem_alarm,disk_free_alarm"))
    except FAILURES:
        return Word(runs, (), ())
    if not isinstance(facts, dict):  # Erlang's empty list: a node that has just started knows nothing of itself yet
        facts = {}
    alarms = {"memory": facts.get("mem_alarm"), "disk": facts.get("disk_free_alarm")}
    return Word(
        runs,
        partitions=tuple(facts.get("partitions") or ()),
        alarms=tuple(name for name, is_raised in alarms.items() if is_raised is True),
    )


def place_of(pod: Object, path: str) -> URL:
    """A path of a pod's management API; KeyError while the pod has no address."""
    return url_of(pod["status"]["podIP"], MANAGEMENT_PORT, path)


def pod_name(pod: Object) -> str:
    """The name of a pod."""
    return str(pod["metadata"]["name"])


def pod_of(node_name: str) -> str:
    """rabbit@shop-rabbitmq-0.… -> shop-rabbitmq-0."""
    return node_name.partition("@")[2].partition(".")[0]


def backlog_of(queues: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """Queue -> ready + unacknowledged messages; None for a queue without a leader, which has no numbers."""
    counts = ("messages_ready", "messages_unacknowledged")
    return {
        queue["name"]: sum(queue[each] for each in counts) if queue.keys() >= set(counts) else None for queue in queues
    }


def in_hand_of(queues: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Queue -> messages that workers hold, where they hold any."""
    held = ((queue["name"], queue.get("messages_unacknowledged") or 0) for queue in queues)
    return {name: count for name, count in held if count}


def in_words(error: Exception) -> str:
    """Why there is no answer."""
    if isinstance(error, KeyError):
        return "the pod has no address yet"
    return str(error) or "no answer within 2 s"
