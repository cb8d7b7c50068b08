"""Asks every Sentinel who is master and every Redis how it is. Short time limits; silence is an answer."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from redis.asyncio import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from appstack_operator.api import AppStack
from appstack_operator.desired.context import Credentials
from appstack_operator.desired.redis import COMPONENT, master_name
from appstack_operator.objects import Object, component_of
from appstack_operator.observed import RedisAnswers, RedisInstance, SentinelAnswer
from appstack_operator.services.http import KEEP_SECONDS

REDIS_PORT, SENTINEL_PORT = 6379, 26379
TIMEOUT_SECONDS = 2.0
LINE = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)
Ask = Callable[..., Awaitable[Any]]
Place = tuple[str, int, str]  # address, port, password
KEPT: ContextVar["Kept | None"] = ContextVar("kept", default=None)
LATE = (TimeoutError, RedisTimeoutError)
# redis-py itself stumbles over an odd answer to its HELLO: AttributeError.
FAILURES = (RedisError, OSError, TimeoutError, ValueError, KeyError, TypeError, AttributeError)


async def observe_redis(
    stack: AppStack, pods: Sequence[Object], addresses: Mapping[str, str], credentials: Credentials
) -> RedisAnswers:
    """The answers of all Sentinels and all instances; `addresses` are the announced ones, by pod."""
    pod_at = {address: name for name, address in addresses.items()}
    sentinels = [pod for pod in pods if component_of(pod) != COMPONENT]
    instances = [pod for pod in pods if component_of(pod) == COMPONENT]
    said, states = await asyncio.gather(
        asyncio.gather(*(ask_sentinel(pod, master_name(stack), pod_at, credentials.redis) for pod in sentinels)),
        asyncio.gather(*(ask_instance(pod, credentials.redis) for pod in instances)),
    )
    return RedisAnswers(tuple(said), tuple(states))


class Kept:
    """Connections that serve for the next question, closed when none has come for a while."""

    def __init__(self) -> None:
        """None is open."""
        self._idle: dict[Place, tuple[Connection, asyncio.TimerHandle]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, place: Place) -> Connection | None:
        """The one that was kept, to be given back or closed."""
        if place not in self._idle:
            return None
        connection, timer = self._idle.pop(place)
        timer.cancel()
        return connection

    def give_back(self, place: Place, connection: Connection) -> None:
        """For the next question."""
        self._close(place)  # of two that were asked at once
        self._idle[place] = connection, asyncio.get_running_loop().call_later(KEEP_SECONDS, self._close, place)

    def _close(self, place: Place) -> None:
        if connection := self.take(place):
            task = asyncio.create_task(connection.disconnect(nowait=True))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """All of them."""
        for place in list(self._idle):
            self._close(place)
        await asyncio.gather(*self._closing, return_exceptions=True)


@asynccontextmanager
async def kept_redis_connections() -> AsyncIterator[None]:
    """For all that is asked in this block and in the tasks that it starts."""
    kept = Kept()
    token = KEPT.set(kept)
    try:
        yield
    finally:
        KEPT.reset(token)
        await kept.close()


@asynccontextmanager
async def connection_to(pod: Object, port: int, password: str) -> AsyncIterator[Ask]:
    """Asks one pod: a command -> its answer. A bare connection: a client with its pool costs more than the question."""
    kept, place = KEPT.get(), (pod["status"]["podIP"], port, password)
    former = kept.take(place) if kept else None
    connection = former or new_connection(place)

    async def ask(*command: str) -> Any:
        try:
            await connection.send_command(*command)
            return await connection.read_response()
        except RedisConnectionError:
            if connection is not former or connection.is_connected:
                raise
            # It was closed since the last question, which says nothing of now: send_command connects anew.
            await connection.send_command(*command)
            return await connection.read_response()

    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        yield ask
    except BaseException:
        await connection.disconnect()
        raise
    if kept:
        kept.give_back(place, connection)
    else:
        await connection.disconnect()


def new_connection(place: Place) -> Connection:
    """Not open yet."""
    host, port, password = place
    return Connection(
        host=host,
        port=port,
        password=password,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS / 2,
        retry=Retry(NoBackoff(), 0),  # the next look asks again
        decode_responses=True,
        protocol=3,
        driver_info=None,  # found out anew for each connection otherwise, from the files of the installed package
    )


async def ask_sentinel(pod: Object, name: str, pod_at: Mapping[str, str], password: str) -> SentinelAnswer:
    """What one Sentinel says."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), connection_to(pod, SENTINEL_PORT, password) as ask:
            facts: dict[str, str] = await ask("SENTINEL", "MASTER", name)
            has_quorum = await quorum_is_there(ask, name)
        return sentinel_of(pod["metadata"]["name"], facts, pod_at, has_quorum=has_quorum)
    except FAILURES as error:
        return SentinelAnswer(pod["metadata"]["name"], error=in_words(error), is_late=isinstance(error, LATE))


def sentinel_of(pod: str, facts: Mapping[str, str], pod_at: Mapping[str, str], *, has_quorum: bool) -> SentinelAnswer:
    """A Sentinel's answer in our words."""
    return SentinelAnswer(
        pod,
        master=pod_at.get(facts["ip"], facts["ip"]),
        has_quorum=has_quorum,
        replicas=int(facts["num-slaves"]),
        other_sentinels=int(facts["num-other-sentinels"]),
        flags=facts.get("flags", ""),
    )


async def quorum_is_there(ask: Ask, name: str) -> bool:
    """Whether enough Sentinels see each other to agree on a failover."""
    try:
        await ask("SENTINEL", "CKQUORUM", name)
    except RedisError as error:
        if "NOQUORUM" in str(error).upper() or "NOGOODSLAVE" in str(error).upper():
            return False
        raise
    return True


async def ask_instance(pod: Object, password: str) -> RedisInstance:
    """What one Redis says about its replication and its disk."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), connection_to(pod, REDIS_PORT, password) as ask:
            facts = dict(LINE.findall(await ask("INFO", "replication", "persistence")))
        return instance_of(pod["metadata"]["name"], facts)
    except FAILURES as error:
        return RedisInstance(pod["metadata"]["name"], error=in_words(error), is_late=isinstance(error, LATE))


def instance_of(pod: str, facts: Mapping[str, str]) -> RedisInstance:
    """A Redis' answer in our words."""
    is_replica = facts["role"] == "slave"
    return RedisInstance(
        pod,
        role=facts["role"],
        link_up=facts.get("master_link_status") == "up",
        lag_bytes=max(int(facts["master_repl_offset"]) - int(facts["slave_repl_offset"]), 0) if is_replica else None,
        # By these it decides whether to take writes; one that is connected may still copy, or be silent for seconds.
        # Without such a limit (a single instance) it does not count them.
        good_replicas=int(facts.get("min_slaves_good_slaves") or facts.get("connected_slaves") or 0),
        takes_writes_alone=not is_replica and "min_slaves_good_slaves" not in facts,
        disk_fails=facts.get("aof_last_write_status", "ok") != "ok",
    )


def in_words(error: Exception) -> str:
    """Why there is no answer."""
    if isinstance(error, KeyError):
        return "the pod has no address yet" if error.args[0] in ("status", "podIP") else f"its answer lacks {error}"
    if isinstance(error, AttributeError):
        return "what answers does not speak as Redis does"
    return str(error) or f"no answer within {TIMEOUT_SECONDS:.0f} s"
