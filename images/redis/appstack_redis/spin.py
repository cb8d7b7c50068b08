"""Ends a busy loop of Sentinel: an error that its client library never takes from a connection wakes it for ever.

It comes when a server vanishes (https://github.com/redis/redis/issues/9956, unmended in 8.0) and costs all the time of
a processor until that connection is closed. A password that is set anew, though it is the same, closes all
connections of Sentinel's own; it makes new ones within a second, and nobody counts as down before three.
"""

import logging
import time
from dataclasses import dataclass

from appstack_redis.resp import Connection, info
from appstack_redis.settings import SENTINEL_PORT, Settings

log = logging.getLogger("spin")

LOOK_SECONDS = 10.0
# At rest a Sentinel uses 0.005 of a processor and works on more than 2,000 commands in a second of it.
SPINNING_SHARE = 0.2
IDLE_COMMANDS_PER_CPU_SECOND = 1000


@dataclass(frozen=True)
class Usage:
    """What a Sentinel has used and done since its start, and when it said so."""

    at_seconds: float
    cpu_seconds: float
    commands: int


def is_spinning(before: Usage, now: Usage) -> bool:
    """Whether it used a processor for nothing."""
    used = now.cpu_seconds - before.cpu_seconds
    is_busy = used > SPINNING_SHARE * (now.at_seconds - before.at_seconds)
    return is_busy and now.commands - before.commands < IDLE_COMMANDS_PER_CPU_SECOND * used


class Watch:
    """Over our own Sentinel; look now and then."""

    def __init__(self, settings: Settings, host: str = "127.0.0.1", port: int = SENTINEL_PORT) -> None:
        """Nothing is known before the second look."""
        self._settings, self._place = settings, (host, port)
        self._before: Usage | None = None

    def look(self) -> None:
        """Have it connect anew if it spins. Raises OSError or RedisError where it does not answer."""
        with Connection(*self._place, self._settings.password) as connection:
            now = usage(connection)
            before, self._before = self._before, now
            if before is not None and is_spinning(before, now):
                share = (now.cpu_seconds - before.cpu_seconds) / (now.at_seconds - before.at_seconds)
                log.warning("Sentinel uses %.0f %% of a processor for nothing: it connects anew", 100 * share)
                connect_anew(connection, self._settings)


def usage(connection: Connection) -> Usage:
    """Ask a Sentinel."""
    cpu, stats = info(connection, "cpu"), info(connection, "stats")
    used = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    return Usage(time.monotonic(), used, int(stats["total_commands_processed"]))


def connect_anew(connection: Connection, settings: Settings) -> None:
    """Close a Sentinel's connections to the servers that it watches, and to the other Sentinels."""
    connection.call("SENTINEL", "SET", settings.group().master_name, "auth-pass", settings.password)
    connection.call("SENTINEL", "CONFIG", "SET", "sentinel-pass", settings.password)
