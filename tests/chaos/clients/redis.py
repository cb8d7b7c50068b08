"""Clients of Redis: writers that push to lists, found by Sentinel or by the Service, and readers.

Each answer is asked together with the server's identity, so that the history tells who took a write.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unreached
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from tests.chaos.clients.lists import TICK_SECONDS, Numbers, Shown, list_of, number_at
from tests.chaos.history import Action, Outcome
from tests.chaos.reigns import REPLICA

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.clients.record import Recorder, Result
    from tests.chaos.clients.target import Redis as Place
    from tests.chaos.clients.target import Target
    from tests.chaos.history import Value

RHYTHM_SECONDS = TICK_SECONDS
WRITERS = ("redis-held", "redis-reconnecting")  # whose lists are read
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


def identity_of(facts: dict[str, object]) -> str:
    """RUN/REPLICATION ID of a master, from its INFO; RUN/replica of whoever follows one."""
    reign = str(facts["master_replid"])[:8] if facts["role"] == "master" else REPLICA
    return f"{str(facts['run_id'])[:8]}/{reign}"


def ask(connection: Redis, *command: str | int) -> tuple[object, str]:
    """The answer to one command, and who gave it, in one message. Raises RedisError.

    The identity comes first: a promotion or a demotion between the two ends in an error, not in a wrong name.
    """
    pipe = connection.pipeline(transaction=False)
    pipe.info("server", "replication")
    pipe.execute_command(*command)  # type: ignore[no-untyped-call]
    facts, answer = pipe.execute()
    return answer, identity_of(facts)


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
    """Pushes growing numbers to lists of its own."""

    def __init__(self, place: Place, client: str, host: str = "", *, is_held: bool = True) -> None:
        """Without a host the Sentinels are asked for the master, again after each failure."""
        self.place, self.client, self.host, self.is_held = place, client, host, is_held
        self._connection: Redis | None = None
        self.server = ""  # who acknowledged the last push

    def push(self, number: int) -> Result:
        """One push. A refusal has no effect; what breaks off in between is in doubt."""
        sent, keep, self.server = False, False, ""
        try:
            if self._connection is None:
                self._connection = connect(self.host or find_master(self.place), self.place.password)
                self._connection.ping()
            sent = True
            _, self.server = ask(self._connection, "RPUSH", self.key(number), number)
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
        """The list that an element goes to."""
        return key_of(self.client, list_of(number))


def key_of(client: str, number: int) -> str:
    """The key of a client's list."""
    return f"{PREFIX}/{client}/{number}"


def write(recorder: Recorder, writer: Writer) -> None:
    """Write until told to end."""
    taken = Numbers()

    def step(_: int) -> bool:
        number = taken.next(time.monotonic())
        return recorder.attempt(Action.APPEND, writer.key(number), lambda: writer.push(number), lambda: writer.server)

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
    """Ask the master that the Sentinels name, in turn: for the number of keys, and for a list of a writer."""
    read_in_turn(recorder, Reader(target.redis))


def read_isolated(recorder: Recorder, target: Target) -> None:
    """The same, straight from one server, whoever leads."""
    read_in_turn(recorder, Reader(target.redis, target.redis.host))


def read_in_turn(recorder: Recorder, reader: Reader) -> None:
    """Any answer will do for every other question; between them, lists that have to be fresh."""

    def step(number: int) -> bool:
        if number % 2 == 0:
            return recorder.attempt(Action.PROBE, "master", reader.count, lambda: reader.server)
        turn = number // 2
        client = WRITERS[turn % len(WRITERS)]
        key = reader.key(client, number_at(time.monotonic()), turn // len(WRITERS))
        return recorder.attempt(Action.READ_LIST, key, lambda: reader.items(client, key), lambda: reader.server)

    recorder.every(RHYTHM_SECONDS, step)


class Reader:
    """Reads over one connection; looks for the master anew after each failure."""

    def __init__(self, place: Place, host: str = "") -> None:
        self.place, self.host = place, host
        self.shown = Shown()
        self.server = ""  # who answered last
        self._connection: Redis | None = None

    def count(self) -> Result:
        """How many keys there are."""
        return self._ask(lambda answer: int(str(answer)), "DBSIZE")

    def key(self, client: str, number: int, look: int) -> str:
        """The list of a writer to ask for when it writes this number."""
        return key_of(client, self.shown.next(client, number, look))

    def items(self, client: str, key: str) -> Result:
        """One list."""
        found, outcome, words = self._ask(numbers, "LRANGE", key, 0, -1)
        if isinstance(found, list):
            self.shown.note(client, found)
        return found, outcome, words

    def _ask(self, read: Callable[[object], Value], *command: str | int) -> Result:
        self.server = ""
        try:
            if self._connection is None:
                self._connection = connect(self.host or find_master(self.place), self.place.password)
            answer, self.server = ask(self._connection, *command)
            return read(answer), Outcome.OK, ""
        except (RedisError, Unreached, OSError) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return None, Outcome.FAILED, str(error)


def numbers(answer: object) -> list[int]:
    """The elements of a list."""
    return [int(str(item)) for item in answer] if isinstance(answer, list) else []


def prepare(place: Place) -> None:
    """Remove the lists of an earlier run."""
    with connect(find_master(place), place.password) as server:
        for key in server.scan_iter(f"{PREFIX}/*", count=1000):
            server.delete(key)


def read_all(place: Place) -> dict[str, list[int]]:
    """Every list, from the master: the one that Sentinels name, to which `-rw` leads, and whose replicas hold the same.

    Raises RedisError: where they do not agree yet, something may be gone with the next failover.
    """
    with connect(find_master(place), place.password) as server, connect(place.host, place.password) as by_service:
        (_, named), (_, served) = ask(server, "PING"), ask(by_service, "PING")
        if named != served or named.endswith(REPLICA):
            raise RedisError(f"Sentinels name {named}, and -rw leads to {served}")
        found = lists_of(server)
        for address in replicas_of(server):
            with connect(address, place.password) as replica:
                if lists_of(replica) != found:
                    raise RedisError(f"the replica {address} does not hold what its master holds")
        return found


def lists_of(server: Redis) -> dict[str, list[int]]:
    return {key: [int(item) for item in server.lrange(key, 0, -1)] for key in server.scan_iter(f"{PREFIX}/*")}


def replicas_of(server: Redis) -> list[str]:
    """The announced addresses of those that are linked to a master."""
    facts = server.info("replication")
    return [str(facts[f"slave{number}"]["ip"]) for number in range(int(facts["connected_slaves"]))]
