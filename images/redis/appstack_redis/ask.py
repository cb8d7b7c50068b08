"""Questions to Sentinels and to the keepers of other members: short time limits, silence is no answer."""

import json
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from appstack_redis.decide import Answer, Member
from appstack_redis.resp import Connection, RedisError
from appstack_redis.settings import KEEPER_PORT, SENTINEL_PORT, Group

TIMEOUT_SECONDS = 1.0
T = TypeVar("T")


def ask_sentinel(sentinel: str, address: str, master_name: str, password: str) -> Answer | None:
    """What one Sentinel calls the master; None if it is silent or does not watch this stack."""
    try:
        with Connection(address, SENTINEL_PORT, password, TIMEOUT_SECONDS) as connection:
            fields = connection.call("SENTINEL", "MASTER", master_name)
    except (OSError, RedisError):
        return None
    facts = dict(zip(fields[::2], fields[1::2], strict=False))
    return Answer(sentinel, facts["ip"], int(facts["config-epoch"]))


def ask_sentinels(group: Group, password: str) -> list[Answer]:
    """The answers of all Sentinels that give one."""
    questions = [
        lambda sentinel=sentinel, address=address: ask_sentinel(sentinel, address, group.master_name, password)
        for sentinel, address in group.sentinels.items()
    ]
    return [answer for answer in at_once(questions) if answer is not None]


def ask_member(pod: str, address: str) -> Member | None:
    """What the keeper of another member knows; None if it is silent."""
    try:
        with urllib.request.urlopen(f"http://{address}:{KEEPER_PORT}/state", timeout=TIMEOUT_SECONDS) as answer:
            return Member(**{**json.load(answer), "pod": pod})
    except (OSError, ValueError, TypeError):
        return None


def ask_members(group: Group, without: str = "") -> dict[str, Member]:
    """The answers of all keepers but our own."""
    questions = [
        lambda pod=pod, address=address: ask_member(pod, address)
        for pod, address in group.redis.items()
        if pod != without
    ]
    return {member.pod: member for member in at_once(questions) if member is not None}


def ask_failover(group: Group, password: str) -> str:
    """Ask one Sentinel after the other to fail over; empty if one agreed, else the last refusal."""
    refusal = "no Sentinel answers"
    for address in group.sentinels.values():
        try:
            with Connection(address, SENTINEL_PORT, password, TIMEOUT_SECONDS) as connection:
                connection.call("SENTINEL", "FAILOVER", group.master_name)
        except (OSError, RedisError) as error:
            refusal = str(error)
        else:
            return ""
    return refusal


def at_once(questions: Iterable[Callable[[], T]]) -> list[T]:
    """Put all questions at the same time: one silent member costs one time limit, not one each."""
    waiting = list(questions)
    if not waiting:
        return []
    with ThreadPoolExecutor(len(waiting)) as pool:
        return list(pool.map(lambda question: question(), waiting))
