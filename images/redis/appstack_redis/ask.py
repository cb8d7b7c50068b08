"""Questions to Sentinels and to the keepers of other members: short time limits, silence is no answer."""

import json
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from http.client import HTTPException
from typing import TypeVar

from appstack_redis.decide import Answer, Member, agreed_master
from appstack_redis.resp import Connection, RedisError
from appstack_redis.settings import KEEPER_PORT, SENTINEL_PORT, Group

TIMEOUT_SECONDS = 1.0
LATE_SECONDS = 0.2  # for those that have not answered yet when most have
T = TypeVar("T")


def to_sentinel(address: str, password: str) -> Connection:
    """A connection to a Sentinel. Raises OSError or RedisError."""
    return Connection(address, SENTINEL_PORT, password, TIMEOUT_SECONDS)


def ask_sentinel(sentinel: str, address: str, master_name: str, password: str) -> Answer | None:
    """What one Sentinel calls the master; None if it is silent or does not watch this stack."""
    try:
        with to_sentinel(address, password) as connection:
            fields = connection.call("SENTINEL", "MASTER", master_name)
            # While it leads a failover, a Sentinel names the promoted one here first.
            address = connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name)[0]
    except (OSError, RedisError):
        return None
    facts = dict(zip(fields[::2], fields[1::2], strict=False))
    return Answer(sentinel, address, int(facts["config-epoch"]))


def ask_sentinels(group: Group, password: str) -> list[Answer]:
    """The answers of all Sentinels that give one."""
    return [answer for answer in at_once(sentinel_questions(group, password)) if answer is not None]


def ask_until_agreed(group: Group, password: str) -> str | None:
    """The address that most Sentinels name, if one is."""
    return agreed_master(answers_until_agreed(group, password), group.quorum)


def answers_until_agreed(group: Group, password: str) -> list[Answer]:
    """The answers of the Sentinels, as soon as most name the same address.

    Silent ones are not waited for, as where a drain takes one of them along with the master: writes wait meanwhile.
    """
    pool = ThreadPoolExecutor(len(group.sentinels) or 1)
    waiting = {pool.submit(question) for question in sentinel_questions(group, password)}
    answers: list[Answer] = []
    try:
        while waiting:
            patience = LATE_SECONDS if len(answers) >= group.quorum else None
            told, waiting = wait(waiting, patience, FIRST_COMPLETED)
            answers += [answer for each in told if (answer := each.result())]
            if not told or agreed_master(answers, group.quorum):
                break
        return answers
    finally:
        pool.shutdown(wait=False)


def is_there(sentinel: str, password: str) -> bool | None:
    """Whether this Sentinel answers; None where it says nothing: it may be gone, or slow."""
    try:
        with to_sentinel(sentinel, password) as connection:
            return bool(connection.call("PING") == "PONG")
    except ConnectionError:  # refused, or reset: its process has ended
        return False
    except (OSError, RedisError):
        return None


def sentinel_questions(group: Group, password: str) -> list[Callable[[], Answer | None]]:
    """One question for each Sentinel."""
    return [
        partial(ask_sentinel, name, address, group.master_name, password) for name, address in group.sentinels.items()
    ]


def ask_member(pod: str, address: str) -> Member | None:
    """What the keeper of another member knows; None if it is silent."""
    try:
        with urllib.request.urlopen(f"http://{address}:{KEEPER_PORT}/state", timeout=TIMEOUT_SECONDS) as answer:
            return Member(**{**json.load(answer), "pod": pod})
    except (OSError, HTTPException, ValueError, TypeError):  # HTTPException: its keeper ended while it answered
        return None


def ask_members(group: Group, without: str = "") -> dict[str, Member]:
    """The answers of all keepers but our own."""
    questions = [partial(ask_member, pod, address) for pod, address in group.redis.items() if pod != without]
    return {member.pod: member for member in at_once(questions) if member is not None}


def in_turn(group: Group) -> list[str]:
    """The Sentinels in the order in which they are asked for a failover: the last one first.

    The one that leads a failover goes on showing the former master until all replicas follow the new one, a second
    longer than all others do; and clients ask the first one first.
    """
    return list(group.sentinels.values())[::-1]


def ask_failover(group: Group, password: str) -> tuple[str, str]:
    """Ask one Sentinel after the other to fail over: the address of the one that agreed, and else the last refusal.

    One that is at it already may be at the end of an earlier failover, from another master: that is no agreement.
    """
    refusal = "no Sentinel answers"
    for address in in_turn(group):
        try:
            with to_sentinel(address, password) as connection:
                connection.call("SENTINEL", "FAILOVER", group.master_name)
        except (OSError, RedisError) as error:
            refusal = str(error)
        else:
            return address, ""
    return "", refusal


def at_once(questions: Iterable[Callable[[], T]]) -> list[T]:
    """Put all questions at the same time: one silent member costs one time limit, not one each."""
    waiting = list(questions)
    if not waiting:
        return []
    with ThreadPoolExecutor(len(waiting)) as pool:
        return list(pool.map(lambda question: question(), waiting))
