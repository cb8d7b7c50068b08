"""Reads that may go to a replica: to one that has replayed all that the caller may know of, else to the primary.

The replica's position and the rows come in one round trip, on one connection, so it does not matter how many
replicas stand behind the read-only address.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from appstack_backend.database import Connection, Database, Rows, rows_of, server_is_lost
from appstack_backend.errors import DatabaseUnavailable
from appstack_backend.logs import get_logger
from appstack_backend.metrics import READS

log = get_logger()
NO_LSN = "0" * 16
PRIMARY_LSN = "SELECT pg_current_wal_flush_lsn()::text AS lsn"
# A server that takes itself for the primary has to know of what is needed as well: its successor may have written that.
IS_FRESH = """
    SELECT coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END
        >= %s::pg_lsn, false), pg_is_in_recovery()"""
OBSERVE_SECONDS = 1.0
LEFT_ALONE_SECONDS = 2.0  # a replica that is lost
LOOK_AGAIN_SECONDS = 5.0  # where the read-only address led, if it led to no replica
# A server whose node is lost says nothing, and its connections break only seconds later. So nobody waits for one alone:
# after a second the primary is asked beside the replica, and beside the primary the replica every half second. A server
# that is merely slow would so make the other one do its work as well: hence only a part of a pool may be used for that.
SILENT_SECONDS, AGAIN_SECONDS = 1.0, 0.5
T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]  # statements that change nothing, and what they find, which is never None


class Reader(Protocol):
    """Where a repository's reads go."""

    async def read(self, work: Work[T]) -> T: ...

    async def fetch_all(self, query: Any, parameters: Any = None) -> Rows: ...

    async def fetch_one(self, query: Any, parameters: Any = None) -> dict[str, Any] | None: ...


def comparable(lsn: str) -> str:
    """`1/A0` as text that compares like the position it is."""
    high, _, low = lsn.partition("/")
    return f"{high:0>8}{low:0>8}"


def as_lsn(text: str) -> str:
    """The inverse of `comparable`."""
    return f"{text[:8]}/{text[8:]}"


class Reads:
    """The primary and what may stand in for it. Without a replica the LSN plays no part."""

    def __init__(self, primary: Database, replica: Database | None, most_stale_seconds: float) -> None:
        self.primary, self.replica = primary, replica
        self._most_stale_seconds = most_stale_seconds
        self._seen: deque[tuple[float, str]] = deque()
        self._floor: str | None = None
        self._observed_at = -math.inf
        self._left_alone_until = 0.0
        self._look_again_at = 0.0
        # Places for those who ask another server beside this one: half of the other one's connections at most.
        self.beside_replica = asyncio.Semaphore(primary.size // 2)
        self.beside_primary = asyncio.Semaphore(replica.size // 2 if replica else 0)

    async def lsn(self) -> str:
        """A position behind every commit that was acknowledged before."""
        if self.replica is None:
            return NO_LSN
        row = await self.primary.fetch_one(PRIMARY_LSN)
        return comparable(row["lsn"]) if row else NO_LSN

    async def observe(self) -> None:
        """Note the primary's position: a replica that has not got there within the limit is too stale for anybody.

        Who cannot ask any more does not know how old a replica's rows are. For twice the limit they are served all the
        same, so that a failover ends no reads; then only the primary serves.
        """
        if self.replica is None:
            return
        now, lsn = time.monotonic(), await self.lsn()
        self._seen.append((now, lsn))
        self._floor = self._floor or lsn
        while self._seen and self._seen[0][0] <= now - self._most_stale_seconds:
            self._floor = self._seen.popleft()[1]
        self._observed_at = now

    def reader(self, needed_lsn: str | None) -> Reader:
        """Reads for who knows of writes up to this position; None: only the primary will do."""
        if self.replica is None or needed_lsn is None or self._floor is None:
            return self.primary
        if not self.replica_is_trusted:
            return self.primary
        return FreshReader(self, self.replica, max(needed_lsn, self._floor))

    @property
    def replica_is_trusted(self) -> bool:
        """Whether it is known well enough how old its rows may be."""
        return time.monotonic() <= self._observed_at + 2 * self._most_stale_seconds + OBSERVE_SECONDS

    @property
    def primary_overdue_seconds(self) -> float:
        """For how long the primary has not told its position, though it should have."""
        return max(0.0, time.monotonic() - self._observed_at - OBSERVE_SECONDS)

    async def ask_primary_first(self, work: Work[T]) -> T:
        """For what may hardly be old: the primary, and only beside a silent or failing one the replica.

        What the replica does not know (it finds nothing) is left to the primary. This counts as no read.
        """
        primary = asyncio.create_task(self.primary.read(work))
        tasks: list[asyncio.Task[Any]] = [primary]
        try:
            await asyncio.wait((primary,), timeout=max(0.0, SILENT_SECONDS - self.primary_overdue_seconds))
            if has_found(primary) or not isinstance(reader := self.reader(NO_LSN), FreshReader):
                return await primary
            replica = asyncio.create_task(reader.read_beside_primary(work))
            tasks.append(replica)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if has_found(primary):
                return primary.result()
            await asyncio.wait((replica,))
            return (replica.result() if has_found(replica) else None) or await primary
        finally:
            for task in tasks:
                leave(task)

    @property
    def replica_is_left_alone(self) -> bool:
        return time.monotonic() < self._left_alone_until

    async def note_failure(self, error: BaseException) -> None:
        """Of a replica that has ended or refused a query, or that is lost.

        Only one that is lost is left alone: else the primary would have to do its work.
        """
        if server_is_lost(error):
            await self.leave_replica_alone(error)
        else:
            log.warning("the replica did not carry out a read", error=str(error).strip())

    async def leave_replica_alone(self, error: BaseException) -> None:
        """It is lost: nobody else shall wait for that for a while."""
        self._left_alone_until = time.monotonic() + LEFT_ALONE_SECONDS
        log.warning("reads go to the primary for a while", error=str(error).strip())
        if self.replica is not None:
            await self.replica.forget_server(error)

    async def look_for_replicas(self) -> None:
        """What was a replica has been promoted, and keeps its connections: the address leads to others by now.

        Else reads would go to the primary, and wait with everybody else where that is lost.
        """
        now = time.monotonic()
        if self.replica is not None and now >= self._look_again_at:
            self._look_again_at = now + LOOK_AGAIN_SECONDS
            log.debug("reads look for a replica: the one they had follows nobody any more")
            await self.replica.connect_anew()


@dataclass(frozen=True, slots=True)
class FreshReader:
    """Reads of one request: by whoever of the two answers first, where the first one asked does not do."""

    reads: Reads
    replica: Database
    needed_lsn: str

    async def read(self, work: Work[T]) -> T:
        first = asyncio.create_task(self._from_replica(work))
        others: list[asyncio.Task[Any]] = []
        try:
            # Where others have heard nothing for a while, nobody waits as long again.
            await asyncio.wait((first,), timeout=max(0.0, SILENT_SECONDS - self.replica.silent_seconds))
            if first.done() and (found := first.result()) is not None:
                READS.labels("replica").inc()
                return found
            primary = asyncio.create_task(self._from_primary(first, work))
            later = asyncio.create_task(self._from_replica_in_time(first, work))
            others = [primary, later]
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            # What one has found is better than the other one's failure.
            is_replica = later.done() and later.exception() is None
            found = later.result() if is_replica else await primary
            READS.labels("replica" if is_replica else "primary").inc()
            return found
        finally:
            for task in (first, *others):
                leave(task)

    async def fetch_all(self, query: Any, parameters: Any = None) -> Rows:
        return await self.read(lambda conn: rows_of(conn, query, parameters))

    async def fetch_one(self, query: Any, parameters: Any = None) -> dict[str, Any] | None:
        rows = await self.fetch_all(query, parameters)
        return rows[0] if rows else None

    async def read_beside_primary(self, work: Work[T]) -> T | None:
        """What the replica finds as soon as there is a place; None if it must not be asked, fails, or is too old."""
        async with self.reads.beside_primary:
            return await self._from_replica(work)

    async def _from_replica(self, work: Work[T]) -> T | None:
        """What it finds; None if it must not be asked, fails, or has not replayed what is needed.

        Raises DatabaseUnavailable where it is busy for as long as one waits for a busy primary.
        """
        give_up_at = time.monotonic() + SILENT_SECONDS + self.reads.primary.patience_seconds
        while self.reads.replica_is_trusted and not self.reads.replica_is_left_alone:
            try:
                found, is_replica = await fetch_fresh(self.replica, self.needed_lsn, work)
                if not is_replica:
                    await self.reads.look_for_replicas()
                return found
            except PoolTimeout as error:
                if not self.replica.is_at_work:
                    await self.reads.leave_replica_alone(error)
                elif time.monotonic() > give_up_at:
                    raise DatabaseUnavailable() from error
            except psycopg.Error as error:
                await self.reads.note_failure(error)
                return None
        return None

    async def _from_primary(self, first: asyncio.Task[T | None], work: Work[T]) -> T:
        """What it finds: at once where the replica does not serve; beside one that is silent once there is a place."""
        if first.done():
            return await self.reads.primary.read(work)
        place = asyncio.create_task(self.reads.beside_replica.acquire())
        try:
            await asyncio.wait((first, place), return_when=asyncio.FIRST_COMPLETED)
            if first.done() and (found := first.result()) is not None:
                return found
            return await self.reads.primary.read(work)
        finally:
            if not place.cancel():
                self.reads.beside_replica.release()

    async def _from_replica_in_time(self, first: asyncio.Task[T | None], work: Work[T]) -> T:
        """What it finds, however long that takes: what a lost primary has acknowledged is replayed a moment later."""
        found = await first
        while found is None:
            await asyncio.sleep(AGAIN_SECONDS)
            found = await self.read_beside_primary(work)
        return found


def has_found(task: asyncio.Task[Any]) -> bool:
    """Whether it has ended well."""
    return task.done() and not task.cancelled() and task.exception() is None


def leave(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more, not even for its end: a query on a lost server takes seconds to cancel."""
    if not task.done():
        task.cancel()
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def fetch_fresh(replica: Database, needed_lsn: str, work: Work[T]) -> tuple[T | None, bool]:
    """What the server finds, if it has replayed the needed position, else None; and whether it is a replica."""
    async with replica.transaction() as conn, conn.pipeline():
        asked = await conn.execute(IS_FRESH, (as_lsn(needed_lsn),))
        found = await work(conn)
        is_fresh, is_replica = await asked.fetchone() or (False, True)
        return found if is_fresh else None, is_replica
