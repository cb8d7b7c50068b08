"""Clients of the load, as the processes that they are."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.chaos.clients import leading, rabbitmq, redis, sql
from tests.chaos.clients.__main__ import CLIENTS, seen_by
from tests.chaos.clients.lists import LIST_LENGTH, TICK_SECONDS
from tests.chaos.clients.sql import outcome_of_commit
from tests.chaos.history import Action, Outcome, read_history
from tests.chaos.load import ISOLATED, STEADY
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.site import wait_until
from tests.unit.chaos.made_target import TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.chaos.clients.record import Recorder, Result
    from tests.chaos.clients.target import Target

ROOT = Path(__file__).resolve().parents[3]
PLACE = TARGET.postgres


def test_every_client_of_the_load_is_known() -> None:
    assert {*STEADY, *ISOLATED} == CLIENTS.keys()


def test_a_copy_that_fails_ends_them_all() -> None:
    code = """
        import time
        from tests.chaos.clients.__main__ import run_copies

        def start(name):
            if name == "x.3":
                raise RuntimeError(name)
            time.sleep(60)

        run_copies(start, ["x.2", "x.3", "x.4"])
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, timeout=50, capture_output=True, check=False
    )
    assert done.returncode == 1


@pytest.mark.parametrize("sqlstate", ["01000", "57P01"], ids=["a cancel", "a shutdown"])
def test_a_commit_that_no_longer_waited_for_the_standby_is_in_doubt(sqlstate: str) -> None:
    assert outcome_of_commit(["00000", sqlstate]) is Outcome.UNKNOWN
    assert outcome_of_commit(["00000"]) is outcome_of_commit([]) is Outcome.OK


def test_a_writer_tells_which_primary_took_what_was_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers:
        notices = ()

        def __init__(self, *_: object) -> None:
            pass

        def run(self, _: str, values: tuple[str, int]) -> list[tuple[str]]:
            if values[1] == 1:
                raise sql.Unreached
            return [("10.0.0.1/00000001",)]

        def close(self) -> None:
            pass

    monkeypatch.setattr(sql, "Connection", Answers)
    writer = sql.Writer(PLACE, PLACE.host, "sql-held", is_held=True)
    told = [(writer.append(number)[1], writer.server) for number in range(2)]
    assert told == [(Outcome.OK, "10.0.0.1/00000001"), (Outcome.FAILED, "")]


def test_who_writes_inside_a_cut_hangs_up_no_sooner_than_the_cut_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = []
    monkeypatch.setattr(sql, "write", lambda *_, answer_seconds, **__: patience.append(answer_seconds))
    sql.write_isolated(cast("Recorder", None), TARGET)
    assert min(patience) > max(scenario.hold_seconds for scenario in SCENARIOS.values() if scenario.isolated)


READERS = (
    pytest.param(lambda: sql.Reader(PLACE, ""), "sql-held/{}", id="PostgreSQL"),
    pytest.param(lambda: redis.Reader(TARGET.redis), "chaos/redis-held/{}", id="Redis"),
)


@pytest.mark.parametrize(("reader", "key"), READERS)
def test_a_reader_follows_its_writer_through_an_outage_that_used_up_the_end_of_a_list(
    reader: Callable[[], sql.Reader | redis.Reader], key: str
) -> None:
    """Numbers 97 to 412 were attempts that failed: 99, and three lists, were never written."""
    asked = reader()
    client = key.split("/")[-2]
    asked.shown.note(client, range(97))
    assert {asked.key(client, 98, look) for look in range(4)} == {key.format(0)}
    outage = [asked.key(client, 300, look) for look in range(4)]
    assert outage == [key.format(3), key.format(0)] * 2, "what was acknowledged before must still be shown"
    asked.shown.note(client, [413])
    assert [asked.key(client, 414, look) for look in range(2)] == [key.format(4), key.format(0)]
    assert [asked.key(client, 501, look) for look in range(2)] == [key.format(5), key.format(4)]


@pytest.mark.parametrize(("reader", "key"), READERS)
def test_a_reader_that_is_cut_off_asks_for_lists_of_which_its_server_knows_nothing(
    reader: Callable[[], sql.Reader | redis.Reader], key: str
) -> None:
    """All that it was shown is complete: by that alone it would look fresh for ever."""
    asked = reader()
    client = key.split("/")[-2]
    asked.shown.note(client, range(LIST_LENGTH - 2))
    for number in (150, 250, 350):
        assert [asked.key(client, number, look) for look in range(2)] == [key.format(number // 100), key.format(0)]


@pytest.mark.parametrize("write", [sql.write_held, redis.write_held], ids=["PostgreSQL", "Redis"])
def test_a_writer_numbers_its_elements_by_the_clock_that_its_readers_see(
    write: Callable[[Recorder, Target], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    numbers: list[int] = []

    class Thrice:
        client = "held"

        def every(self, seconds: float, step: Callable[[int], bool]) -> None:
            assert seconds == TICK_SECONDS
            for now in (12.0, 34.5, 34.51):
                monkeypatch.setattr(time, "monotonic", lambda now=now: now)
                step(0)

        def attempt(self, _: object, key: str, work: Callable[[], Result], *__: object) -> bool:
            keys.append(key)
            work()
            return True

    def take(_: object, number: int) -> None:
        numbers.append(number)

    monkeypatch.setattr(sql.Writer, "append", take)
    monkeypatch.setattr(redis.Writer, "push", take)

    write(cast("Recorder", Thrice()), TARGET)
    assert [key.rpartition("/")[2] for key in keys] == ["1", "3", "3"]
    assert numbers == [120, 345, 346], "and none of them twice"


@pytest.mark.parametrize("silent", ["primary", "replica"])
def test_a_server_of_postgresql_that_says_nothing_makes_no_gap_of_the_other(
    silent: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = {PLACE.host: "primary", PLACE.replica_host: "replica"}

    def answer(reader: sql.Reader, *_: object) -> Result:
        if hosts[reader.host] == silent:
            recorder.stop.wait(2 * sql.ANSWER_SECONDS)
        return [], Outcome.OK, ""

    monkeypatch.setattr(sql.Reader, "count", answer)
    monkeypatch.setattr(sql.Reader, "items", answer)
    end = threading.Timer(1.5, recorder.stop.set)
    end.start()
    sql.read(recorder, TARGET)
    end.join()
    answers = Counter("replica" if o.action is Action.PROBE else "primary" for o in read_history(recorder.path))
    assert answers.pop(silent) == 1, "it waited to the end"
    assert answers.popitem()[1] >= 4


def test_one_of_two_that_raises_ends_the_client(recorder: Recorder) -> None:
    def broken(_: int) -> bool:
        raise ValueError("a fault of the harness")

    with pytest.raises(ValueError, match="of the harness"):
        recorder.side_by_side(0.05, lambda _: True, broken)


@dataclass
class Message:
    """On its way to the consumer as it is told to end."""

    body: bytes
    message_id: str = "rabbitmq-held"
    redelivered: bool = False
    is_acknowledged: bool = False

    async def ack(self) -> None:
        await asyncio.sleep(0.2)
        self.is_acknowledged = True


@dataclass
class Broker:
    """A connection, its channel and its queue, which is empty but for what is on its way."""

    messages: list[Message]
    unacknowledged: list[int] = field(default_factory=list)  # at the end of the connection
    is_closed: bool = False

    @property
    def default_exchange(self) -> None:
        raise OSError("the connection has ended")

    async def set_qos(self, prefetch_count: int) -> None:
        assert prefetch_count >= len(self.messages)

    async def get_queue(self, _: str, *, ensure: bool) -> Broker:
        assert not ensure
        return self

    async def consume(self, take: Callable[[Message], Coroutine[None, None, None]], **_: float) -> str:
        self.take = take
        return "tag"

    async def cancel(self, tag: str, **_: float) -> None:
        assert tag == "tag"
        self.tasks = [asyncio.create_task(self.take(message)) for message in self.messages]

    async def close(self) -> None:
        self.is_closed = True
        self.unacknowledged = [int(message.body) for message in self.messages if not message.is_acknowledged]


def test_a_consumer_takes_what_it_holds_before_it_ends(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or confirmed messages would go back to a queue that looked empty, and be told as lost."""
    broker = Broker([Message(b"7"), Message(b"8"), Message(b"9", redelivered=True)])

    async def connect(*_: object) -> tuple[Broker, Broker]:
        return broker, broker

    monkeypatch.setattr(rabbitmq, "connect", connect)
    threading.Timer(0.3, recorder.stop.set).start()
    asyncio.run(rabbitmq.consume(recorder, ""))
    told = [(o.action, o.value) for o in read_history(recorder.path)]
    assert told == [(Action.DELIVER, 7), (Action.DELIVER, 8), (Action.REDELIVER, 9)]
    assert (broker.unacknowledged, broker.is_closed) == ([], True)


def test_the_first_connection_to_the_broker_leads_to_the_pod_that_is_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Broker] = []

    async def connect(*_: object) -> tuple[Broker, Broker]:
        made.append(Broker([]))
        return made[-1], made[-1]

    led = iter([{"10.0.0.8"}, {"10.0.0.8"}, {"10.0.0.8", "10.0.0.9"}])  # one that was let go may not be gone yet
    monkeypatch.setattr(rabbitmq, "connect", connect)
    monkeypatch.setattr(leading, "pods_behind", lambda *place: next(led) if place == ("10.1.1.1", 5672) else {})
    asyncio.run(rabbitmq.connect_to("10.0.0.9", TARGET.amqp_url))
    assert [broker.is_closed for broker in made] == [True, True, False]
    asyncio.run(rabbitmq.connect_to("", TARGET.amqp_url))
    assert [broker.is_closed for broker in made] == [True, True, False, False]


@pytest.mark.parametrize(
    ("kind", "is_led"),
    [("publish_held", True), ("publish_reconnecting", False), ("read", True)],
)
def test_who_holds_a_connection_to_the_broker_has_the_first_one_alone_led(
    kind: str, *, is_led: bool, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def connect_to(pod: str, *_: object) -> tuple[Broker, Broker]:
        asked.append(pod)
        if len(asked) > 1:
            recorder.stop.set()
        return Broker([], is_closed=True), Broker([], is_closed=True)

    monkeypatch.setattr(rabbitmq, "connect_to", connect_to)
    getattr(rabbitmq, kind)(recorder, replace(TARGET, rabbitmq_pod="10.0.0.9"))
    assert asked == ["10.0.0.9" if is_led else "", ""]


@pytest.mark.parametrize(
    ("host", "is_late", "pods"),
    [
        pytest.param("", False, ("10.0.0.8", "10.0.0.9"), id="one of the steady load"),
        pytest.param("10.0.0.7", False, ("10.0.0.8", ""), id="one that talks straight to a server"),
        pytest.param("", True, ("", ""), id="one that comes after the fault"),
    ],
)
def test_whose_held_connections_are_led(host: str, *, is_late: bool, pods: tuple[str, str]) -> None:
    target = replace(TARGET, api_pod="10.0.0.8", rabbitmq_pod="10.0.0.9")
    seen = seen_by(target, host, is_late=is_late)
    assert (seen.api_pod, seen.rabbitmq_pod) == pods
    assert [seen.postgres.host, seen.redis.host] == ([host, host] if host else [PLACE.host, ""])
    assert seen.amqp_url == f"amqp://user:word@{host or '10.1.1.1'}:5672/"


def test_copies_write_histories_of_their_own_and_end_together(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from tests.chaos.clients.__main__ import run_copies
        from tests.chaos.clients.record import Recorder
        from tests.chaos.history import Action, Outcome

        def start(name):
            recorder = Recorder(name, Path(sys.argv[1]) / f"{name}.jsonl")
            step = lambda n: recorder.attempt(Action.APPEND, name, lambda: (n, Outcome.OK, ""))
            recorder.every(0.05, step)

        run_copies(start, ["x.2", "x.3", "x.4"])
        """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], cwd=ROOT) as process:
        files = [tmp_path / f"x.{number}.jsonl" for number in (2, 3, 4)]
        wait_until(lambda: all(file.exists() and file.stat().st_size > 200 for file in files), "all write", 120, 0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert not any(is_running(int(child)) for child in children)
    assert all(f'"client":"{file.stem}"' in file.read_text() for file in files)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
