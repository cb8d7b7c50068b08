"""Clients of Redis: writers that push to lists, found by Sentinel or by the Service, and a reader."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unreached
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from tests.chaos.history import Action, Outcome

if TYPE_CHECKING:
    from tests.chaos.clients.record import Recorder, Result
    from tests.chaos.clients.target import Redis as Place
    from tests.chaos.clients.target import Target

RHYTHM_SECONDS = 0.1
LIST_LENGTH = 100
ANSWER_SECONDS = 1.0
REACH_SECONDS = 0.5
REDIS_PORT, SENTINEL_PORT = 6379, 26379
PREFIX = "chaos"
# Inside redis-py they would stay with a dead master: whoever fails looks for the master again.
NO_RETRIES = Retry(NoBackoff(), 0)


def connect(host: str, password: str) -> Redis:
    """A client of one server, without retries."""
    return Redis(
        host=host,
        port=REDIS_PORT,
        password=password,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=REACH_SECONDS,
        retry=NO_RETRIES,
        decode_responses=True,
    )


def find_master(place: Place) -> str:
    """The address that a Sentinel names. Raises RedisError."""
    options = {"socket_timeout": REACH_SECONDS, "socket_connect_timeout": REACH_SECONDS, "retry": NO_RETRIES}
    addresses = [(address, SENTINEL_PORT) for address in place.sentinels]
    sentinel = Sentinel(addresses, sentinel_kwargs={"password": place.password, **options})  # type: ignore[no-untyped-call]
    return str(sentinel.discover_master(place.master_name)[0])  # type: ignore[no-untyped-call]


def fail_over(place: Place) -> None:
    """Ask the first Sentinel for a failover; it may refuse, for a while after the last one."""
    server = Redis(host=place.sentinels[0], port=SENTINEL_PORT, password=place.password, socket_timeout=ANSWER_SECONDS)
    with contextlib.suppress(RedisError):
        server.execute_command("SENTINEL", "FAILOVER", place.master_name)  # type: ignore[no-untyped-call]
    server.close()


class Writer:
    """Pushes 0, 1, 2, … to lists of its own."""

    def __init__(self, place: Place, client: str, host: str = "", *, is_held: bool = True) -> None:
        """Without a host the Sentinels are asked for the master, again after each failure."""
        self.place, self.client, self.host, self.is_held = place, client, host, is_held
        self._connection: Redis | None = None

    def push(self, number: int) -> Result:
        """One push. A refusal has no effect; what breaks off in between is in doubt."""
        sent, keep = False, False
        try:
            if self._connection is None:
                self._connection = connect(self.host or find_master(self.place), self.place.password)
                self._connection.ping()
            sent = True
            self._connection.rpush(self.key(number), number)
            keep = self.is_held
            outcome, words = Outcome.OK, ""
        except (ReadOnlyError, ResponseError, MasterNotFoundError) as error:  # NOREPLICAS, LOADING, MASTERDOWN
            outcome, words = Outcome.FAILED, str(error)
        except (RedisError, OSError) as error:
            outcome, words = Outcome.UNKNOWN if sent else Outcome.FAILED, f"{type(error).__name__}: {error}"
        if not keep:
            self.close()
        return number, outcome, words

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def key(self, number: int) -> str:
        return f"{PREFIX}/{self.client}/{number // LIST_LENGTH}"


def write(recorder: Recorder, writer: Writer) -> None:
    """Write until told to end."""
    step = lambda n: recorder.attempt(Action.APPEND, writer.key(n), lambda: writer.push(n))  # noqa: E731
    recorder.every(RHYTHM_SECONDS, step)


def write_held(recorder: Recorder, target: Target) -> None:
    """Sentinel-aware, over one connection while it lives."""
    write(recorder, Writer(target.redis, recorder.client))


def write_reconnecting(recorder: Recorder, target: Target) -> None:
    """Through `-rw`, over a new connection each time."""
    write(recorder, Writer(target.redis, recorder.client, target.redis.host, is_held=False))


def write_isolated(recorder: Recorder, target: Target) -> None:
    """Straight to one server over a held connection, whoever leads."""
    write(recorder, Writer(target.redis, recorder.client, target.redis.host))


def read(recorder: Recorder, target: Target) -> None:
    """Ask the master that the Sentinels name for a list: any answer will do, replication is asynchronous."""
    place, held = target.redis, Held()

    def ask() -> Result:
        try:
            if held.connection is None:
                held.connection = connect(find_master(place), place.password)
            return int(str(held.connection.dbsize())), Outcome.OK, ""
        except (RedisError, Unreached, OSError) as error:
            if held.connection is not None:
                held.connection.close()
                held.connection = None
            return None, Outcome.FAILED, str(error)

    recorder.every(RHYTHM_SECONDS, lambda _: recorder.attempt(Action.PROBE, "master", ask))


class Held:
    """The reader's connection."""

    connection: Redis | None = None


def prepare(place: Place) -> None:
    """Remove the lists of an earlier run."""
    with connect(find_master(place), place.password) as server:
        for key in server.scan_iter(f"{PREFIX}/*", count=1000):
            server.delete(key)


def read_all(place: Place) -> dict[str, list[int]]:
    """Every list, from the master."""
    with connect(find_master(place), place.password) as server:
        return {key: [int(item) for item in server.lrange(key, 0, -1)] for key in server.scan_iter(f"{PREFIX}/*")}
