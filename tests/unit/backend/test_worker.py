"""Every message taken is answered, whatever fails; and one that is hopeless gets one letter, however often it comes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import aio_pika
import msgspec
import psycopg
import pytest
from pamqp.commands import Basic

from appstack_backend import logs
from appstack_backend.dead_letters import RESENT
from appstack_backend.errors import DatabaseUnavailable
from appstack_backend.worker import consumer as consumers
from appstack_backend.worker import tasks

CHUNK = b'{"kind": "import.chunk", "import_id": "6f1c7f1e-6a1f-4a52-8f0c-5f7f0e1d2c3b", "chunk": 1}'


@dataclass
class Message:
    """What the broker delivered: it notes how it was answered."""

    body: bytes = b"not JSON"
    message_id: str = "m1"
    redelivered: bool = False
    headers: dict[str, Any] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def ack(self) -> None:
        self.answers.append("ack")
        if self.error:
            raise self.error

    async def nack(self, requeue: bool) -> None:
        self.answers.append(f"nack requeue={requeue}")


@dataclass
class House:
    """The services of a worker: a database that fails with a list of errors first, and a broker that takes letters."""

    failures: list[Exception] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    written: list[dict[str, Any]] = field(default_factory=list)
    told: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    settings: Any = field(default_factory=lambda: SimpleNamespace(worker_max_deliveries=0))
    broken_publisher: Exception | None = None
    published_headers: dict[str, Any] = field(default_factory=dict)

    def worker(self) -> tasks.Worker:
        relay = SimpleNamespace(poke=lambda: None)
        services: Any = SimpleNamespace(
            settings=self.settings, database=self, publisher=self, relay=relay, stop=self.stop
        )
        return tasks.Worker(services, "bulk")

    async def run(self, _: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.told += 1

    async def execute(self, _: Any, values: dict[str, Any]) -> None:
        self.written.append(values)

    async def forget_server(self, _: BaseException) -> None:
        pass

    async def put_off(self, queue: str, message_id: str, body: Any, headers: dict[str, Any]) -> None:
        await self.publish(f"{queue}.later", message_id, body, headers)

    async def publish(self, queue: str, message_id: str, _: Any, headers: dict[str, Any]) -> None:
        if self.broken_publisher:
            raise self.broken_publisher
        self.published_headers = headers
        self.letters.append(f"{queue} {message_id}")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "GIVE_BACK_PAUSE_SECONDS", 0, raising=False)
    monkeypatch.setattr(tasks, "ATTEMPT_PAUSE_SECONDS", 0)


async def take(message: Message, work: Any) -> list[str]:
    consumer = consumers.Consumer("amqp://nowhere", "bulk", "test", 1, 1.0, work)
    delivered: Any = message
    await asyncio.wait_for(asyncio.create_task(consumer._take(delivered)), 60)
    return message.answers


async def test_a_consumer_whose_broker_stands_still_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client then cancels who waits for an answer, which is not to end the whole worker."""
    stop, lives = asyncio.Event(), 0

    async def consume(_: consumers.Consumer, stop: asyncio.Event) -> None:
        nonlocal lives
        lives += 1
        if lives == 1:
            raise asyncio.CancelledError
        await stop.wait()

    async def work(_: Any) -> str:
        return "done"

    monkeypatch.setattr(consumers.Consumer, "_consume", consume)
    monkeypatch.setattr(consumers, "FIRST_PAUSE_SECONDS", 0.01)
    running = asyncio.create_task(consumers.Consumer("amqp://nowhere", "bulk", "test", 1, 1.0, work).run(stop))
    async with asyncio.timeout(60):
        while lives < 2 and not running.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not running.done()
        running.cancel()  # its own end is no trouble of the broker
        with pytest.raises(asyncio.CancelledError):
            await running
    assert lives == 2


@pytest.mark.parametrize(
    "error",
    [
        consumers.GiveBack(),
        DatabaseUnavailable(),
        KeyError("a defect"),
        ConnectionResetError("the publisher's connection"),
        aio_pika.exceptions.DeliveryError(None, Basic.Nack(1)),
        pytest.param(asyncio.CancelledError(), id="the publisher's client cancelled what waited for it"),
    ],
)
async def test_a_message_that_cannot_be_worked_on_is_given_back(error: BaseException) -> None:
    async def work(_: Any) -> str:
        raise error

    assert await take(Message(), work) == ["nack requeue=True"]


async def test_a_message_is_not_answered_by_who_is_told_to_end() -> None:
    begun, message = asyncio.Event(), Message()

    async def work(_: Any) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "done"

    taking = asyncio.create_task(take(message, work))
    await begun.wait()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert message.answers == []


async def test_a_message_whose_answer_is_lost_is_answered_no_second_time() -> None:
    async def work(_: Any) -> str:
        return "done"

    assert await take(Message(error=ConnectionResetError("gone")), work) == ["ack"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"kind": {"kind": "event"}}', b'{"kind": []}'])
async def test_a_message_of_no_kind_is_buried_at_once(body: bytes) -> None:
    house = House()
    assert await take(Message(body), house.worker().work) == ["ack"]
    assert house.letters == ["bulk.dead m1"]


@pytest.mark.parametrize(
    ("age_seconds", "letters"), [(0, ["bulk.later m1"]), (59, ["bulk.later m1"]), (60, ["bulk.dead m1"])]
)
async def test_a_message_of_an_unknown_kind_is_put_off_for_a_while(age_seconds: int, letters: list[str]) -> None:
    house = House(settings=SimpleNamespace(worker_unknown_seconds=60))
    since = int(time.time()) - age_seconds
    message = Message(b'{"kind": "unheard.of"}', headers={tasks.UNKNOWN_SINCE: since, RESENT: 1, "x-death": []})
    assert await take(message, house.worker().work) == ["ack"]
    assert house.letters == letters
    if age_seconds < 60:
        assert house.published_headers == {tasks.UNKNOWN_SINCE: since, RESENT: 1}


async def test_a_message_that_cannot_be_put_off_is_given_back() -> None:
    house = House(settings=SimpleNamespace(worker_unknown_seconds=60), broken_publisher=ConnectionError("gone"))
    assert await take(Message(b'{"kind": "unheard.of"}'), house.worker().work) == ["nack requeue=True"]


async def test_a_hopeless_message_waits_for_the_database_with_one_letter() -> None:
    house = House([DatabaseUnavailable(), DatabaseUnavailable()])
    assert await take(Message(CHUNK), house.worker().work) == ["ack"]
    assert (house.letters, house.told) == (["bulk.dead m1"], 1)


async def test_what_is_more_than_the_database_can_do_is_hopeless_at_once() -> None:
    settings = SimpleNamespace(worker_max_deliveries=10)
    house = House([psycopg.errors.ProgramLimitExceeded("word is too long in tsquery")], settings=settings)
    assert await take(Message(CHUNK), house.worker().work) == ["ack"]
    assert house.letters == ["bulk.dead m1"]
    assert house.published_headers["x-reason"] == "ProgramLimitExceeded: word is too long in tsquery"


async def test_a_hopeless_message_that_comes_again_gets_no_second_letter() -> None:
    house = House([KeyError("a defect")])
    worker = house.worker()
    assert await take(Message(CHUNK), worker.work) == ["nack requeue=True"]
    assert await take(Message(CHUNK, redelivered=True), worker.work) == ["ack"]
    assert (house.letters, house.told) == (["bulk.dead m1"], 1)


@pytest.mark.parametrize("headers", [{}, {RESENT: 2}])
async def test_a_message_that_waits_long_for_the_database_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, Any]
) -> None:
    """The broker takes back what is held for half an hour, and after ten times the message would be hopeless."""
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 0)
    house = House([DatabaseUnavailable()] * 2, settings=SimpleNamespace(worker_max_deliveries=10))
    message = Message(CHUNK, headers={**headers, "x-delivery-count": 9})
    assert await take(message, house.worker().work) == ["ack"]
    assert (house.letters, house.told) == (["bulk m1"], 0)
    assert house.published_headers == headers


async def test_a_message_that_could_not_be_made_anew_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 0)
    settings = SimpleNamespace(worker_max_deliveries=10)
    house = House([DatabaseUnavailable()], settings=settings, broken_publisher=TimeoutError())
    assert await take(Message(CHUNK), house.worker().work) == ["nack requeue=True"]


async def test_a_hopeless_attempt_at_a_webhook_is_written_down() -> None:
    """Else its delivery would be pending for ever, and its message be made again by each sweep."""
    house, delivery_id = House(), "6f1c7f1e-6a1f-4a52-8f0c-5f7f0e1d2c3b"
    body = {"kind": "webhook.deliver", "delivery_id": delivery_id, "attempt": 3}
    assert await take(Message(msgspec.json.encode(body)), house.worker().work) == ["ack"]
    assert house.letters == ["bulk.dead m1"]
    assert house.written == [{"id": UUID(delivery_id), "attempt": 3, "is_resent": False}]


async def test_the_line_of_a_hopeless_message_is_found_by_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It alone tells why a part of an import failed."""
    lines: list[dict[str, Any]] = []
    note = SimpleNamespace(error=lambda event, **values: lines.append(logs.merge_context(None, "", values)))
    monkeypatch.setattr(tasks, "log", note)
    house = House([psycopg.errors.DataError("no number")], settings=SimpleNamespace(worker_max_deliveries=10))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    ids = {"request_id": "r1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    message = Message(msgspec.json.encode(msgspec.json.decode(CHUNK) | ids))
    assert await take(message, house.worker().work) == ["ack"]
    (line,) = lines
    assert (line["reason"], line["request_id"], line["trace_id"]) == ("DataError: no number", "r1", trace)
    assert line["message_id"] == "m1"


async def test_a_message_that_a_person_sent_back_gets_a_letter_of_its_own() -> None:
    house = House()
    worker = house.worker()
    for headers in ({}, {RESENT: 1}, {RESENT: 2}):
        assert await take(Message(CHUNK, headers=headers), worker.work) == ["ack"]
        assert house.published_headers.get(RESENT, 0) == headers.get(RESENT, 0), "how often is told in the letter"
    assert house.letters == ["bulk.dead m1"] * 3


async def test_a_worker_that_ends_gives_a_hopeless_message_back_when_the_database_is_away() -> None:
    house = House([DatabaseUnavailable()])
    house.stop.set()
    assert await take(Message(CHUNK), house.worker().work) == ["nack requeue=True"]


async def test_a_letter_that_nobody_confirmed_leaves_the_message_with_the_broker() -> None:
    house = House(broken_publisher=TimeoutError())
    assert await take(Message(), house.worker().work) == ["nack requeue=True"]
    assert house.told == 0
