"""Before a Redis stops: its writes are held until another one has caught up and leads."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from appstack_redis.ask import answers_until_agreed, ask_failover, ask_members, at_once, is_there
from appstack_redis.decide import Member, named_master
from appstack_redis.resp import Connection, RedisError, info
from appstack_redis.settings import REDIS_PORT, Group, Settings
from appstack_redis.timing import good_moment

log = logging.getLogger("keeper")

HAND_OVER_SECONDS = 10.0
# Writes are held for longer than everything takes that follows, also where members and Sentinels are silent: what the
# former master acknowledged after its successor's promotion would be lost.
HOLD_SECONDS = HAND_OVER_SECONDS + 8.0
CATCH_UP_SECONDS = 7.0  # what is left of those is enough for a failover
SILENCES = 3  # in a row, of a second each: who agreed to a failover, and says nothing, has ended
CAUGHT_UP_SECONDS = 0.1  # what catching up takes where nothing is wrong


def anybody(_address: str, _password: str) -> bool:
    """Whoever is in sync."""
    return True


def hand_over(
    settings: Settings,
    own: Callable[[], Connection],
    announced: str,
    can_lead: Callable[[str, str], bool] = anybody,
) -> bool:
    """While this pod is master and another one can be: hold writes, let it catch up, have it promoted.

    Sentinel promotes first and demotes the old master many seconds later. Without the pause it would go on
    to acknowledge writes in between, and all of them would be lost. `own` connects to this pod's server, which others
    know by its announced address; `can_lead` looks at the others once more. Returns whether another one leads now.
    """
    group = settings.group()
    in_sync = [pod for pod, other in ask_members(group, settings.pod).items() if is_heir(other)]
    heirs = [pod for pod in in_sync if can_lead(group.redis[pod], settings.password)]
    moment = good_moment(group, settings.password) if heirs and is_master(own) else 0.0
    time.sleep(max(moment - CAUGHT_UP_SECONDS - time.monotonic(), 0.0))
    paused = time.monotonic()
    offset, deadline = pause_writes(own), paused + HAND_OVER_SECONDS
    if offset is None or not heirs:
        log.info("nothing to hand over: %s", "this pod is no master" if heirs else "no other could be master")
        return False
    addresses = [group.redis[pod] for pod in heirs]
    caught_up = lambda: have_caught_up([replication_of(each, settings.password) for each in addresses], offset)  # noqa: E731
    if not wait_until(caught_up, time.monotonic() + CATCH_UP_SECONDS):
        log.warning("not handed over: no replica holds everything after %.0f s; all of it is on disk", CATCH_UP_SECONDS)
        return False
    time.sleep(max(moment - time.monotonic(), 0.0))
    handed_over = have_promoted(group, announced, addresses, settings.password, deadline)
    log.info("handed over: %s; writes waited for %.2f s", handed_over, time.monotonic() - paused)
    if handed_over:
        gather(addresses, settings.password)
    return handed_over


def have_promoted(group: Group, announced: str, heirs: Sequence[str], password: str, deadline: float) -> bool:
    """Have a Sentinel promote one of the heirs; whether it leads and is named before the deadline.

    Who has agreed may end before it has promoted anybody, where a drain takes it along: then the next one is asked. One
    that is only slow may still promote, and two would promote two.
    """
    leader, silences = "", 0
    while time.monotonic() < deadline:
        if leader:
            is_known = is_there(leader, password)
            silences = silences + 1 if is_known is None else 0
            has_ended = is_known is False or silences >= SILENCES
        if not leader or (has_ended and not any(leads(heir, password) for heir in heirs)):
            leader, refusal = ask_failover(group, password)
            log.info("handing over: %s", refusal or "agreed")
            time.sleep(0.5 if refusal else 0.0)
        elif names_another(group, announced, password):
            return True
        else:
            time.sleep(0.1)
    return names_another(group, announced, password)


def names_another(group: Group, announced: str, password: str) -> bool:
    """Whether Sentinels name another one that leads: some may name a predecessor, for a moment after a promotion."""
    # Not by members.json: a pod that is being scaled away has no address there any more.
    named = named_master(answers_until_agreed(group, password))
    return named not in (None, announced) and leads(str(named), password)


def leads(address: str, password: str) -> bool:
    """Whether this member calls itself master."""
    return replication_of(address, password).get("role") == "master"


def gather(addresses: Iterable[str], password: str) -> None:
    """Have the others of these members follow the one that leads now.

    Sentinel tells those at once that it has met for a while. Who has just come back, as in a rolling restart, would
    look for the new master itself for two seconds, in which that may have no replica, and so takes no writes.
    """
    members = list(addresses)
    told = at_once([partial(replication_of, address, password) for address in members])
    leading = [address for address, facts in zip(members, told, strict=True) if facts.get("role") == "master"]
    if len(leading) != 1:
        return
    others = [
        address
        for address, facts in zip(members, told, strict=True)
        if facts.get("role") == "slave" and facts.get("master_host") != leading[0]
    ]
    at_once([partial(follow, address, leading[0], password) for address in others])


def follow(address: str, master: str, password: str) -> None:
    """Have one member follow a master, if it hears of it."""
    try:
        with Connection(address, REDIS_PORT, password) as connection:
            connection.call("REPLICAOF", master, REDIS_PORT)
    except (OSError, RedisError) as error:
        log.info("%s has to find the new master itself: %s", address, error)


def is_master(own: Callable[[], Connection]) -> bool:
    """Whether this pod's server leads, as far as it says."""
    try:
        return bool(own().call("ROLE")[0] == "master")
    except (OSError, RedisError):
        return False


def pause_writes(own: Callable[[], Connection]) -> int | None:
    """Hold the writes of all clients; returns the offset to catch up with, None where there is no master."""
    try:
        if own().call("ROLE")[0] != "master":
            return None
        own().call("CLIENT", "PAUSE", int(HOLD_SECONDS * 1000), "WRITE")
        return int(info(own(), "replication")["master_repl_offset"])
    except (OSError, RedisError):
        return None


def ends_at_once(own: Callable[[], Connection]) -> bool:
    """End a server that another one has replaced; whether it went.

    Clients wait at it under the pause, and it has acknowledged nothing since: they may go to the new master now.
    A plain SIGTERM would first have it wait for receipts of its replicas, which come once a second.
    """
    try:
        own().call("SHUTDOWN", "NOSAVE", "NOW", "FORCE")
    except ConnectionError:
        return True
    except (OSError, RedisError) as error:
        log.warning("the server does not end at once: %s", error)
    return False


def replication_of(address: str, password: str) -> dict[str, str]:
    """What another member says of its link and how far it has come; empty where it does not say."""
    try:
        with Connection(address, REDIS_PORT, password) as connection:
            return info(connection, "replication")
    except (OSError, RedisError):
        return {}


def disk_works(address: str, password: str) -> bool:
    """Whether another member writes its append-only file."""
    try:
        with Connection(address, REDIS_PORT, password) as connection:
            return info(connection, "persistence").get("aof_last_write_status") == "ok"
    except (OSError, RedisError):
        return False


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Whether the condition came true before the deadline."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_heir(member: Member) -> bool:
    """Whether a member could take over."""
    return member.in_sync and not member.stopping


def have_caught_up(heirs: Iterable[Mapping[str, str]], offset: int) -> bool:
    """Whether every replica that is linked holds everything; one without a link would be waited for in vain.

    While none of them is linked, there is nobody yet to hand over to.
    """
    linked = [facts for facts in heirs if facts.get("master_link_status") == "up"]
    return bool(linked) and all(int(facts.get("slave_repl_offset", -1)) >= offset for facts in linked)
