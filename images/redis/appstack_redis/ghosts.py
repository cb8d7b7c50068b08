"""Has a Sentinel forget members that are gone for good: a ghost among the Sentinels counts as a voter for ever."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from appstack_redis.ask import at_once
from appstack_redis.resp import Connection, RedisError
from appstack_redis.settings import SENTINEL_PORT, Group, Settings

log = logging.getLogger("ghosts")

DOWN = {"s_down", "disconnected"}


@dataclass(frozen=True)
class Known:
    """What one Sentinel knows about the group: address -> flags."""

    master: str
    master_flags: frozenset[str]
    replicas: Mapping[str, frozenset[str]]
    sentinels: Mapping[str, frozenset[str]]  # without itself


def ghosts(known: Known, group: Group) -> list[str]:
    """Addresses that are no member's, and that do not answer: removed by scaling down, or renewed with a Service.

    A stranger that answers is no ghost: forgetting it would only bring it back. The operator tells of it.
    """
    replicas = missing(known.replicas, set(group.redis.values()))
    return sorted([*replicas, *missing(known.sentinels, set(group.sentinels.values()))])


def missing(flags_of: Mapping[str, frozenset[str]], members: set[str]) -> Iterable[str]:
    """Those that are down and none of ours."""
    return (address for address, flags in flags_of.items() if address not in members and flags & DOWN)


def is_complete(known: Known, group: Group) -> bool:
    """Whether a Sentinel knows every member and no ghost: it could lead a failover."""
    replicas = set(group.redis.values()) - {known.master}
    # It does not list itself, so of the others one may be absent.
    others = len(set(group.sentinels.values()) & set(known.sentinels)) >= len(group.sentinels) - 1
    return others and replicas <= set(known.replicas) and not ghosts(known, group)


def may_forget(me: str, all_known: Mapping[str, Known], group: Group) -> bool:
    """Whether the Sentinel `me` may now start its list anew.

    For seconds afterwards it knows no replica to promote. So it does it only while the master is well, and one after
    the other: every Sentinel before it must answer, and be complete again.
    """
    mine = all_known.get(me)
    if mine is None or not ghosts(mine, group):
        return False
    if mine.master_flags != {"master"} or group.pod_at(mine.master) is None:
        return False
    before = [pod for pod in sorted(group.sentinels, key=ordinal) if ordinal(pod) < ordinal(me)]
    return all(pod in all_known and is_complete(all_known[pod], group) for pod in before)


def ordinal(pod: str) -> int:
    """shop-redis-sentinel-2 -> 2."""
    return int(pod.rsplit("-", 1)[1])


def ask_known(address: str, master_name: str, password: str) -> Known | None:
    """Ask one Sentinel for what it knows; None if it does not answer."""
    try:
        with Connection(address, SENTINEL_PORT, password) as connection:
            master = pairs(connection.call("SENTINEL", "MASTER", master_name))
            replicas = [pairs(each) for each in connection.call("SENTINEL", "REPLICAS", master_name)]
            sentinels = [pairs(each) for each in connection.call("SENTINEL", "SENTINELS", master_name)]
    except (OSError, RedisError):
        return None
    return Known(master["ip"], flags(master), by_address(replicas), by_address(sentinels))


def pairs(fields: list[str]) -> dict[str, str]:
    """A flat list of names and values."""
    return dict(zip(fields[::2], fields[1::2], strict=False))


def flags(facts: Mapping[str, str]) -> frozenset[str]:
    """slave,s_down -> its parts."""
    return frozenset(facts.get("flags", "").split(","))


def by_address(entries: Iterable[Mapping[str, str]]) -> dict[str, frozenset[str]]:
    """Address -> flags. Of two entries with one address, one that is down counts."""
    found: dict[str, frozenset[str]] = {}
    for entry in entries:
        found[entry["ip"]] = flags(entry) | (found.get(entry["ip"], frozenset()) & DOWN)
    return found


def tidy(settings: Settings) -> None:
    """One look at all Sentinels; the own one announces its present address, and forgets ghosts when it is its turn."""
    group = settings.group()
    if settings.pod not in group.sentinels:
        return
    announce(settings, group)
    questions = [partial(ask_known, at, group.master_name, settings.password) for at in group.sentinels.values()]
    known = {pod: seen for pod, seen in zip(group.sentinels, at_once(questions), strict=True) if seen is not None}
    if may_forget(settings.pod, known, group):
        log.info("forgetting %s", ", ".join(ghosts(known[settings.pod], group)))
        with Connection("127.0.0.1", SENTINEL_PORT, settings.password) as connection:
            connection.call("SENTINEL", "RESET", group.master_name)


def announce(settings: Settings, group: Group) -> None:
    """Tell the others the address of this pod's Service: a Service that was made anew has another one."""
    address = group.sentinels[settings.pod]
    with Connection("127.0.0.1", SENTINEL_PORT, settings.password) as connection:
        if connection.call("SENTINEL", "CONFIG", "GET", "announce-ip")[1:] != [address]:
            connection.call("SENTINEL", "CONFIG", "SET", "announce-ip", address)
            log.info("announcing %s", address)
