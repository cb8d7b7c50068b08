"""Asks every Sentinel who is master and every Redis how it is. Short time limits; silence is an answer."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
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


def connect(pod: Object, port: int, password: str) -> Redis:
    """A client without retries: the next pass asks again."""
    return Redis(
        host=pod["status"]["podIP"],
        port=port,
        password=password,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS / 2,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        driver_info=None,  # found out anew for each client otherwise, from the files of the installed package
    )


async def ask_sentinel(pod: Object, name: str, pod_at: Mapping[str, str], password: str) -> SentinelAnswer:
    """What one Sentinel says."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), connect(pod, SENTINEL_PORT, password) as client:
            facts = fields(await client.execute_command("SENTINEL MASTER", name))  # type: ignore[no-untyped-call]
            has_quorum = await quorum_is_there(client, name)
    except FAILURES as error:
        return SentinelAnswer(pod["metadata"]["name"], error=in_words(error), is_late=isinstance(error, LATE))
    return SentinelAnswer(
        pod["metadata"]["name"],
        master=pod_at.get(facts["ip"], facts["ip"]),
        has_quorum=has_quorum,
        replicas=int(facts["num-slaves"]),
        other_sentinels=int(facts["num-other-sentinels"]),
        flags=flags_of(facts),
    )


def fields(answer: Any) -> dict[str, Any]:
    """The answer as a dictionary, whether the client has made it one or not."""
    return dict(answer) if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=False))


async def quorum_is_there(client: Redis, name: str) -> bool:
    """Whether enough Sentinels see each other to agree on a failover."""
    try:
        await client.execute_command("SENTINEL", "CKQUORUM", name)  # type: ignore[no-untyped-call]
    except RedisError as error:
        if "NOQUORUM" in str(error).upper() or "NOGOODSLAVE" in str(error).upper():
            return False
        raise
    return True


def flags_of(facts: Mapping[str, Any]) -> str:
    """The master's flags, as a Sentinel shows them: master,s_down,o_down."""
    flags = facts.get("flags", "")
    return flags if isinstance(flags, str) else ",".join(sorted(flags))


async def ask_instance(pod: Object, password: str) -> RedisInstance:
    """What one Redis says about its replication."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), connect(pod, REDIS_PORT, password) as client:
            facts: dict[str, Any] = await client.info("replication")
    except FAILURES as error:
        return RedisInstance(pod["metadata"]["name"], error=in_words(error), is_late=isinstance(error, LATE))
    is_replica = facts["role"] == "slave"
    return RedisInstance(
        pod["metadata"]["name"],
        role=facts["role"],
        link_up=facts.get("master_link_status") == "up",
        lag_bytes=max(facts["master_repl_offset"] - facts["slave_repl_offset"], 0) if is_replica else None,
        connected_replicas=int(facts.get("connected_slaves", 0)),
    )


def in_words(error: Exception) -> str:
    """Why there is no answer."""
    if isinstance(error, KeyError):
        return "the pod has no address yet"
    return str(error) or f"no answer within {TIMEOUT_SECONDS:.0f} s"
