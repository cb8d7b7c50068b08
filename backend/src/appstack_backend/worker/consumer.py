"""Consuming one queue: supervised, finishing what it holds, and giving back the rest."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from appstack_backend import broker
from appstack_backend.logs import bound, get_logger
from appstack_backend.metrics import CONSUMER_RESTARTS, MESSAGES, MESSAGES_IN_HAND, REDELIVERED

log = get_logger()
GIVE_BACK_PAUSE_SECONDS = 1.0  # it may come again at once
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
Work = Callable[[AbstractIncomingMessage], Awaitable[str]]  # returns the outcome, for the metrics


class ConsumerLost(Exception):
    """The consumer must be started anew; the message says why."""


class GiveBack(Exception):
    """The message cannot be finished here and now; the broker shall deliver it again."""


def deliveries_before(message: AbstractIncomingMessage) -> int:
    """How often the broker delivered this message before, as far as it tells."""
    counted = message.headers.get("x-delivery-count", 0)
    count = counted if isinstance(counted, int) else 0
    return max(count, int(bool(message.redelivered)))


class Consumer:
    """Takes messages of one queue, `concurrency` at a time; every message delivered is one being worked on."""

    def __init__(self, url: str, queue: str, name: str, concurrency: int, watch_seconds: float, work: Work) -> None:
        self._url, self._queue, self._name = url, queue, name
        self._concurrency, self._watch_seconds, self._work = concurrency, watch_seconds, work
        self._in_hand: set[asyncio.Task[None]] = set()
        self._last_delivery = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop`, then finish what is in hand."""
        pause = FIRST_PAUSE_SECONDS
        while not stop.is_set():
            started = time.monotonic()
            try:
                await self._consume(stop)
            except (ConsumerLost, asyncio.CancelledError, *broker.TROUBLE) as error:
                # The broker's client cancels what waits for it when it gives up a broker that stands still.
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
                if time.monotonic() - started > LONGEST_PAUSE_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                reason = type(error).__name__
                CONSUMER_RESTARTS.labels(self._queue, reason).inc()
                log.warning("the consumer is started anew", queue=self._queue, reason=reason, error=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await stop.wait()
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _consume(self, stop: asyncio.Event) -> None:
        """One life of a connection with its consumer."""
        connection = await broker.connect(self._url, self._name)
        try:
            lost = asyncio.Event()
            async with asyncio.timeout(broker.OPEN_SECONDS):
                channel = await connection.channel(publisher_confirms=False)
                for life in (connection, channel):
                    life.close_callbacks.add(lambda *_: lost.set())
                await broker.declare_queues(channel)
                await channel.set_qos(prefetch_count=self._concurrency)
                queue = await channel.get_queue(self._queue, ensure=False)
                self._last_delivery = time.monotonic()
                tag = await queue.consume(self._take, timeout=broker.CONNECT_SECONDS)
            log.info("consuming", queue=self._queue)
            while not stop.is_set():
                await self._wait(stop, lost)
                await self._watch(channel, lost)
            await self._finish(queue, tag)
        finally:
            await broker.close(connection)

    async def _wait(self, stop: asyncio.Event, lost: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (stop, lost)]
        await asyncio.wait(waits, timeout=self._watch_seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _watch(self, channel: AbstractChannel, lost: asyncio.Event) -> None:
        """Raise ConsumerLost if the connection broke, or if messages wait while none arrives here.

        The latter is how a consumer looks that the broker forgot: a lost quorum leader or a deleted
        queue cancels consumers without closing anything.
        """
        if lost.is_set():
            raise ConsumerLost("the connection or channel was closed")
        if self._in_hand or time.monotonic() - self._last_delivery < self._watch_seconds:
            return
        state = await channel.declare_queue(self._queue, passive=True, timeout=broker.CONNECT_SECONDS)
        waiting = state.declaration_result.message_count
        if waiting and not self._in_hand and time.monotonic() - self._last_delivery >= self._watch_seconds:
            raise ConsumerLost(f"{waiting} messages wait and none is delivered")

    async def _finish(self, queue: AbstractQueue, tag: str) -> None:
        """Take no more, and finish what is in hand."""
        with suppress(*broker.TROUBLE):
            await queue.cancel(tag, timeout=broker.CONNECT_SECONDS)
        if self._in_hand:
            log.info("finishing what is in hand", queue=self._queue, messages=len(self._in_hand))
            await asyncio.wait(self._in_hand)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._in_hand.add(task)
        self._last_delivery = time.monotonic()
        try:
            in_hand = MESSAGES_IN_HAND.labels(self._queue).track_inprogress()
            with in_hand, bound(message_id=message.message_id, queue=self._queue):
                await self._answer(message)
        finally:
            self._in_hand.discard(task)
            self._last_delivery = time.monotonic()

    async def _answer(self, message: AbstractIncomingMessage) -> None:
        """Work on a message and acknowledge it; give it back if that is all that can be done."""
        if count := deliveries_before(message):
            REDELIVERED.labels(self._queue).inc()
            log.warning("a message came again", deliveries_before=count)
        try:
            outcome = await self._work(message)
        except GiveBack:
            outcome = "given_back"
        except (Exception, asyncio.CancelledError):
            if (task := asyncio.current_task()) and task.cancelling():
                raise  # this worker's end, with its connection: the broker gives the message to another
            # Whatever it is: a message that nobody answers takes one of this worker's places for ever.
            # The broker's client cancels what waits for it when its connection breaks.
            log.exception("a message could not be worked on, and is given back")
            outcome = "given_back"
            await asyncio.sleep(GIVE_BACK_PAUSE_SECONDS)
        try:
            await (message.nack(requeue=True) if outcome == "given_back" else message.ack())
        except broker.TROUBLE as error:
            outcome = "unanswered"  # the channel is lost, and the broker delivers it again by itself
            log.warning("a message could not be answered", error=repr(error))
        MESSAGES.labels(self._queue, outcome).inc()
