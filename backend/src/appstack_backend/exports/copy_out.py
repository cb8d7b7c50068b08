"""COPY out in large blocks: a thread reads the rows over a connection of its own, the loop writes the blocks on.

Through an asyncio connection each row costs a turn of the event loop; a thread reads them several times faster. So
does who takes all rows that have come at once, and waits only when there is none: psycopg begins a wait for each row.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import pq, sql
from psycopg.abc import PQGen
from psycopg.generators import fetch_many
from psycopg.waiting import Wait

from appstack_backend.database import CONNECT, hang_up
from appstack_backend.reads import IS_FRESH, as_lsn

BLOCKS_AHEAD, FRESH_POLL_SECONDS = 4, 0.1
CANCEL_PAUSE_SECONDS, CANCEL_SECONDS = 0.05, 2.0


class Stale(Exception):
    """The server has not replayed what is needed within the time."""


class Given(Exception):
    """Nobody reads the blocks any more."""


@dataclass(slots=True)
class CopyOut:
    """One COPY TO STDOUT. `rows` is known at its end; `needed_lsn` must have been replayed before it begins."""

    dsn: str
    statement: sql.Composed
    block_bytes: int
    needed_lsn: str | None = None
    wait_seconds: float = 0.0
    silent_seconds: float | None = None  # so long the server may send nothing; None: whoever ends `connections` knows
    connections: set[psycopg.Connection] = field(default_factory=set)  # where ours is found by who may end it
    rows: int = 0
    _is_given_up: threading.Event = field(default_factory=threading.Event)
    _has_ended: threading.Event = field(default_factory=threading.Event)
    _conn: psycopg.Connection | None = None

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Blocks of at least `block_bytes`, the last one smaller. Raises Stale, psycopg.Error."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(BLOCKS_AHEAD)
        loop = asyncio.get_running_loop()

        def hand_over(block: bytes | None) -> None:
            asyncio.run_coroutine_threadsafe(queue.put(block), loop).result()

        reading = asyncio.wrap_future(in_a_thread(lambda: self._read(hand_over)))
        try:
            while (block := await self._next(queue)) is not None:
                yield block
            await reading
        finally:
            self._is_given_up.set()
            if not reading.done():
                threading.Thread(target=self._cancel, name="canceller", daemon=True).start()
            while not reading.done():  # it may wait for room in the queue
                with suppress(asyncio.QueueEmpty):
                    queue.get_nowait()
                await asyncio.sleep(0.01)
            reading.exception()

    async def _next(self, queue: asyncio.Queue[bytes | None]) -> bytes | None:
        """The next block; while one waits for it, nothing but the server keeps it back."""
        try:
            async with asyncio.timeout(self.silent_seconds):
                return await queue.get()
        except TimeoutError:  # no sign that the server is lost: it may have looked for rows all the time
            raise psycopg.errors.QueryCanceled(f"the server sent nothing for {self.silent_seconds:g} s") from None

    def _read(self, hand_over: Callable[[bytes | None], None]) -> None:
        """In the thread."""
        try:
            with psycopg.connect(self.dsn, **CONNECT) as conn, conn.cursor() as cursor:
                self._conn = conn
                self.connections.add(conn)
                self._wait_until_fresh(conn)
                with cursor.copy(self.statement):
                    has_more = True
                    while has_more:
                        block = bytearray()
                        has_more = conn.wait(self._fill(conn.pgconn, block))
                        if self._is_given_up.is_set():
                            raise Given
                        hand_over(bytes(block))
        finally:
            if self._conn is not None:
                self.connections.discard(self._conn)
            self._has_ended.set()
            hand_over(None)

    def _fill(self, pgconn: pq.abc.PGconn, block: bytearray) -> PQGen[bool]:
        """Whether there may be more rows than there is room for in the block."""
        while len(block) < self.block_bytes:
            size, row = pgconn.get_copy_data(1)
            if size > 0:
                block += row
            elif size == 0:
                while not (yield Wait.R):
                    pass
                pgconn.consume_input()
            else:
                for result in (yield from fetch_many(pgconn)):
                    if result.status != pq.ExecStatus.COMMAND_OK:
                        raise psycopg.errors.error_from_result(result)
                    self.rows = result.command_tuples or 0
                return False
        return True

    def _cancel(self) -> None:
        """End the query, once it has begun: it may find nothing for long, and who gave up waits for its thread."""
        while not self._has_ended.wait(CANCEL_PAUSE_SECONDS):
            if self._conn is not None:
                try:
                    self._conn.cancel_safe(timeout=CANCEL_SECONDS)
                except psycopg.Error:  # the server stands still
                    hang_up(self._conn)

    def _wait_until_fresh(self, conn: psycopg.Connection) -> None:
        give_up_at = time.monotonic() + self.wait_seconds
        while self.needed_lsn is not None:
            if self._is_given_up.is_set():
                raise Given
            row = conn.execute(IS_FRESH, (as_lsn(self.needed_lsn),)).fetchone()
            if row and row[0]:
                return
            if time.monotonic() > give_up_at:
                raise Stale
            time.sleep(FRESH_POLL_SECONDS)


def in_a_thread(work: Callable[[], None]) -> Future[None]:
    """Work in a thread of its own: asyncio has but a few, in which names are resolved, and an end waits for them."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()  # from now on nobody can keep it from telling its end

    def run() -> None:
        try:
            work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="reader", daemon=True).start()
    return done
