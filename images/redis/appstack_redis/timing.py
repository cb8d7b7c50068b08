"""When to ask for a failover that can wait for a good moment: so that its Sentinel notices the promotion soon.

A Sentinel learns of a promotion by asking the replica what it is, and while it leads a failover it asks each one once a
second. Usually it has not asked for longer when the failover begins: so it asks at once, just before the promotion, and
then a second later, and all writes wait meanwhile. Here all replicas are asked shortly before.
"""

import logging
import time

from appstack_redis.ask import in_turn, to_sentinel
from appstack_redis.resp import Connection, RedisError
from appstack_redis.settings import Group

log = logging.getLogger("keeper")

# Milliseconds between two questions while all is well: Sentinel's own, and what has all asked at the next tick.
USUAL, EAGER = 10_000, 10
FRESH_MILLISECONDS = 150
PATIENCE_SECONDS = 1.0
# A Sentinel works in ticks of 50 to 100 ms, and promotes in the third one after it was asked for a failover. The
# question that shall come right after that is due a second after the last one.
ASK_SECONDS = 0.7


def good_moment(group: Group, password: str) -> float:
    """When to ask for a failover, on our clock. Whatever fails here costs writers a second, and no more."""
    try:
        return asked_at(group, password) + ASK_SECONDS
    except (OSError, RedisError, LookupError, ValueError) as error:
        log.info("no good moment for a failover is known: %s", error)
        return time.monotonic()


def asked_at(group: Group, password: str) -> float:
    """Have the Sentinel that will lead the failover ask all replicas now; returns when it did. Raises OSError."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with to_sentinel(in_turn(group)[0], password) as sentinel:
        try:
            sentinel.call("SENTINEL", "DEBUG", "INFO-PERIOD", EAGER)
            while not is_fresh(ages(sentinel, group.master_name)):
                if time.monotonic() > deadline:
                    raise TimeoutError("a Sentinel gets no answer of a replica")
                time.sleep(0.02)
        finally:
            sentinel.call("SENTINEL", "DEBUG", "INFO-PERIOD", USUAL)
        return time.monotonic() - max(ages(sentinel, group.master_name), default=0) / 1000


def calm_down(address: str, password: str) -> None:
    """End what a pod killed in the middle of `asked_at` has left: a hundred questions a second. Raises OSError."""
    with to_sentinel(address, password) as sentinel:
        sentinel.call("SENTINEL", "DEBUG", "INFO-PERIOD", USUAL)


def ages(sentinel: Connection, master_name: str) -> list[int]:
    """Milliseconds since each replica that is up last said what it is."""
    told = sentinel.call("SENTINEL", "REPLICAS", master_name)
    replicas = [dict(zip(each[::2], each[1::2], strict=True)) for each in told]
    return [int(each["info-refresh"]) for each in replicas if is_up(each["flags"])]


def is_up(flags: str) -> bool:
    """Whether a Sentinel can ask a replica with these flags."""
    return "down" not in flags and "disconnected" not in flags


def is_fresh(found: list[int]) -> bool:
    """Whether there are replicas, and all of them were asked just now."""
    return bool(found) and max(found) <= FRESH_MILLISECONDS
