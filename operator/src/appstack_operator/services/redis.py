"""Asks every Sentinel who is master and every Redis how it is. Short time limits; silence is an answer."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from appstack_operator.api import AppStack
from appstack_operator.desired.context import Credentials
from appstack_operator.desired.redis import COMPONENT, master_name
from appstack_operator.objects import Object, component_of
from appstack_operator.observed import RedisAnswers, RedisInstance, SentinelAnswer

REDIS_PORT, SENTINEL_PORT = 6379, 26379
TIMEOUT_SECONDS = 2.0
LINE = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)
Ask = Callable[..., Awaitable[Any]]
LATE = (TimeoutError, RedisTimeoutError)
FAILURES = (RedisError, OSError, TimeoutError, ValueError, KeyError)


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


@asynccontextmanager
async def connection_to(pod: Object, port: int, password: str) -> AsyncIterator[Ask]:
    """Asks one pod: a command -> its answer. A bare connection: a client with its pool costs more than the question."""
    connection = Connection(
        host=pod["status"]["podIP"],
        port=port,
        password=password,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS / 2,
        retry=Retry(NoBackoff(), 0),  # the next look asks again
        decode_responses=True,
        protocol=3,
        driver_info=None,  # found out anew for each connection otherwise, from the files of the installed package
    )

    async def ask(*command: str) -> Any:
        await connection.send_command(*command)
        return await connection.read_response()

    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        yield ask
    finally:
        await connection.disconnect()


async def ask_sentinel(pod: Object, name: str, pod_at: Mapping[str, str], password: str) -> SentinelAnswer:
    """What one Sentinel says."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), connection_to(pod, SENTINEL_PORT, password) as ask:
            facts: dict[str, str] = await ask("SENTINEL", "MASTER", name)
            has_quorum = await quorum_is_there(ask, name)
    except FAILURES as error:
        return SentinelAnswer(pod["metadata"]["name"], error=in_words(error), is_late=isinstance(error, LATE))
    return SentinelAnswer(
        pod["metadata"]["name"],
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
    """What one Redis says about its replication."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), connection_to(pod, REDIS_PORT, password) as ask:
            facts = dict(LINE.findall(await ask("INFO", "replication")))
    except FAILURES as error:
        return RedisInstance(pod["metadata"]["name"], error=in_words(error), is_late=isinstance(error, LATE))
    is_replica = facts["role"] == "slave"
    return RedisInstance(
        pod["metadata"]["name"],
        role=facts["role"],
        link_up=facts.get("master_link_status") == "up",
        lag_bytes=max(int(facts["master_repl_offset"]) - int(facts["slave_repl_offset"]), 0) if is_replica else None,
        connected_replicas=int(facts.get("connected_slaves", 0)),
    )


def in_words(error: Exception) -> str:
    """Why there is no answer."""
    if isinstance(error, KeyError):
        return "the pod has no address yet"
    return str(error) or f"no answer within {TIMEOUT_SECONDS:.0f} s"
