"""PostgreSQL: pools that forget dead servers at once, and work that is repeated after a failover."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic, StatementCompletionUnknown
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from appstack_backend.errors import DatabaseUnavailable
from appstack_backend.logs import get_logger
from appstack_backend.metrics import DATABASE_POOL, DATABASE_RETRIES

log = get_logger()
T = TypeVar("T")
Connection = AsyncConnection[TupleRow]
Rows = list[dict[str, Any]]

# A server whose node is gone is noticed by the client's kernel within five seconds, whether it owes us an
# acknowledgement or an answer: no later than another one is elected. There is deliberately no statement_timeout
# here: work may take its time, and COMMIT's wait for the synchronous standby is not ended by it (PostgreSQL 17).
CONNECT: dict[str, Any] = {
    "connect_timeout": 2,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 4_000,
    # A single statement is its own transaction: one round trip instead of three.
    "autocommit": True,
}
# Who waits longer for a connection asks for a new attempt to make one. Where none is in use there is none to wait for
# but a new one: who came while the primary was away would wait for an attempt that the pool has given up already.
POOL_SECONDS, UNUSED_POOL_SECONDS = 1.0, 0.2
# A server that stands still (a frozen process, no lost node) goes on acknowledging bytes. So where nobody has heard of
# it for a second, a look at its address every half second tells whether it was replaced; rarer the longer it lasts,
# since work may take its time.
SILENT_SECONDS, LOOK_SECONDS, LOOK_SHARE = 1.0, 0.5, 0.1
# We reached a server that is no primary (any more): it takes no writes, or has no position of its own to tell.
NO_PRIMARY = ("25006", "55000")
LOCK_TIMEOUT = "55P03"
# Limits that the statement itself exceeds, and objects in the wrong state: to psycopg they are like a connection that
# broke, but the same work fails again. Not so an error of the server's disk (58): its successor has another one.
LASTING = ("53400", "54", "55")
ENDED = ("57P01", "57P02", "57P03")  # the server stops, has crashed, or is starting
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.4
# Which function of PostgreSQL tells that COMMIT's wait was ended. Its words are in the server's language, and its state
# is that of any warning.
COMMIT_WAIT = "SyncRepWaitForLSN"
# Writes a record that means nothing, so that its commit waits until this one, and all before it, is replicated.
BARRIER = "SELECT pg_logical_emit_message(true, 'appstack', '')"
IN_RECOVERY = "SELECT pg_is_in_recovery()"
# The name of a WAL file begins with its timeline.
TIMELINE = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END"


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later, on this server or on its successor."""
    sqlstate = getattr(error, "sqlstate", None) or ""
    if sqlstate in (*NO_PRIMARY, LOCK_TIMEOUT):
        return True
    return isinstance(error, psycopg.OperationalError) and not sqlstate.startswith(LASTING)


def server_is_lost(error: BaseException) -> bool:
    """Whether the pool's other connections are as dead as this one. A pool that is busy tells nothing of its server."""
    if isinstance(error, PoolTimeout):
        return False
    sqlstate = getattr(error, "sqlstate", None) or ""
    return is_transient(error) and (not sqlstate or sqlstate.startswith("08") or sqlstate in (*NO_PRIMARY, *ENDED))


async def timeline_of(conn: Connection) -> int:
    """The timeline that the server writes, which grows with every promotion; 0 of one that does not write, or tell."""
    try:
        row = await (await conn.execute(TIMELINE)).fetchone()
    except psycopg.OperationalError:
        raise
    except psycopg.Error:  # somebody else's database may not let us ask
        return 0
    return int(row[0], 16) if row and row[0] else 0


async def refuse_follower(conn: Connection) -> None:
    """Raise an error that is transient if the server follows another one: a demoted primary, cut off, knows old rows.

    Servers tell this when a connection begins and when it changes, so it costs no round trip. A pooler between may
    go on telling what was: hence the question, to who is said to follow.
    """
    if conn.info.parameter_status("in_hot_standby") == "on":
        row = await (await conn.execute(IN_RECOVERY)).fetchone()
        if row and row[0]:
            raise psycopg.OperationalError("the server follows another one, so it is not the primary")


@contextmanager
def refuse_unreplicated(conn: Connection) -> Iterator[None]:
    """Raise StatementCompletionUnknown where the wait of a commit within was ended: whether it will last, nobody knows.

    To PostgreSQL that is no error, or the end of the session like any other. The commit stands, perhaps on the primary
    alone, and then a failover takes it away.
    """
    ended: list[str] = []

    def note(told: Diagnostic) -> None:
        if told.source_function == COMMIT_WAIT:  # read at once: it is empty after its handler
            ended.append(told.message_primary or COMMIT_WAIT)

    conn.add_notice_handler(note)
    try:
        yield
    except psycopg.OperationalError as error:
        if ended:
            raise StatementCompletionUnknown(ended[0]) from error
        raise
    finally:
        conn.remove_notice_handler(note)
    if ended:
        raise StatementCompletionUnknown(ended[0])


def hang_up(conn: Connection | psycopg.Connection) -> None:
    """End a connection under whoever waits for its answer: to them it broke. Closing it would leave them waiting."""
    with (
        suppress(OSError, psycopg.OperationalError),  # it is closed, or has broken already
        socket.socket(fileno=os.dup(conn.fileno())) as sock,
    ):
        sock.shutdown(socket.SHUT_RDWR)


async def rows_of(conn: Connection, query: Any, parameters: Any = None, **options: Any) -> Rows:
    """All rows of a statement, as dictionaries."""
    async with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        await cursor.execute(query, parameters, **options)
        return await cursor.fetchall()


class Database:
    """A pool of connections to one DSN. Open it once per process."""

    def __init__(
        self,
        dsn: str,
        name: str,
        size: int,
        patience_seconds: float,
        pool_seconds: float = POOL_SECONDS,
        may_follow: bool = False,
    ) -> None:
        self.dsn, self.name, self.size, self._may_follow = dsn, name, size, may_follow
        self.patience_seconds = patience_seconds
        self._pool_seconds = pool_seconds
        self._busy: set[Connection] = set()
        self.beside: set[psycopg.Connection] = set()  # others' own ones to this server, ended like those of the pool
        self._heard_at = 0.0  # when the first of these began its work, or one ended it
        self._timeline = 0
        self._watch: asyncio.Task[None] | None = None
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            kwargs=CONNECT,
            min_size=1,
            max_size=size,
            timeout=pool_seconds,
            # Give up a failed attempt at once: the next request makes a new one, instead of
            # everybody waiting for the end of a backoff that started during the failover.
            reconnect_timeout=0.1,
            name=name,
            configure=self._configure,
            open=False,
        )

    async def _configure(self, conn: Connection) -> None:
        """Tell a new connection how to read JSON, and learn from it whether there is a new primary."""
        set_json_loads(msgspec.json.decode, conn)  # several times faster than the standard library's
        await self._learn(await timeline_of(conn))

    async def _learn(self, timeline: int) -> None:
        """End the connections to the former primary, if there is a new one: what they were to do is repeated there.

        A primary that stood still while its successor was chosen takes itself for the primary for a moment more once it
        goes on, and an idle connection to it would answer with what was; while it stands still, it answers nobody.
        """
        former, self._timeline = self._timeline, max(self._timeline, timeline)
        if 0 < former < timeline:
            log.info("there is a new primary", pool=self.name, timeline=timeline)
            await self._pool.drain()
            for conn in self._busy:
                hang_up(conn)
            for other in tuple(self.beside):  # threads add theirs
                hang_up(other)

    async def open(self) -> None:
        """Start the pool; connections come when the server does."""
        await self._pool.open(wait=False)
        if not self._may_follow:
            self._watch = asyncio.create_task(self._look_past_silence())

    async def close(self) -> None:
        if self._watch:
            self._watch.cancel()
        await self._pool.close(timeout=2.0)

    async def _look_past_silence(self) -> None:
        """While the server answers nobody, look whether its address leads to another one."""
        while True:
            began, limit = time.monotonic(), max(LOOK_SECONDS, LOOK_SHARE * self.silent_seconds)
            if self.silent_seconds > SILENT_SECONDS:
                with suppress(psycopg.Error, TimeoutError):  # it still leads to the silent one, or to nobody
                    await self._learn(await self._look(limit))
            await asyncio.sleep(began + limit - time.monotonic())

    async def _look(self, limit_seconds: float) -> int:
        """The timeline of the server that the address leads to now; connecting and asking each take so long at most."""
        async with asyncio.timeout(limit_seconds):
            conn = await AsyncConnection.connect(self.dsn, **CONNECT)
        async with conn:
            # A query that is cancelled waits for its server; one whose connection breaks does not.
            limit = asyncio.get_running_loop().call_later(limit_seconds, hang_up, conn)
            try:
                return await timeline_of(conn)
            finally:
                limit.cancel()

    def report(self) -> None:
        """Copy the pool's figures to the metrics."""
        figures = self._pool.get_stats()
        for what in ("pool_size", "pool_available", "requests_waiting"):
            DATABASE_POOL.labels(self.name, what).set(figures.get(what, 0))

    @property
    def is_at_work(self) -> bool:
        """Whether work is under way: who waits in vain for a connection then knows of no lost server."""
        return bool(self._busy)

    @property
    def silent_seconds(self) -> float:
        """For how long the server has ended none of the work that is under way."""
        return time.monotonic() - self._heard_at if self._busy else 0.0

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection to a server that may be asked."""
        seconds = self._pool_seconds if self._busy else min(self._pool_seconds, UNUSED_POOL_SECONDS)
        async with self._pool.connection(timeout=seconds) as conn:
            if not self._busy:
                self._heard_at = time.monotonic()
            self._busy.add(conn)
            try:
                if not self._may_follow:
                    await refuse_follower(conn)
                with refuse_unreplicated(conn):
                    yield conn
            finally:
                self._busy.discard(conn)
                if not conn.closed:
                    self._heard_at = time.monotonic()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction, not repeated: the caller sees what fails."""
        async with self._connection() as conn, conn.transaction():
            yield conn

    async def run(self, work: Callable[[Connection], Awaitable[T]], patience_seconds: float | None = None) -> T:
        """Do the work in one transaction, again on a transient failure until patience ends.

        The work must be idempotent: a commit whose answer was lost is repeated too, and one that is not known to be
        replicated. Raises DatabaseUnavailable when patience ends, anything else at once.
        """
        patience = self.patience_seconds if patience_seconds is None else patience_seconds

        async def transaction(conn: Connection) -> T:
            async with conn.transaction():
                return await work(conn)

        return await self._patiently(transaction, patience)

    async def _patiently(self, work: Callable[[Connection], Awaitable[T]], patience_seconds: float) -> T:
        """Do the work on a connection, again on a transient failure until patience ends."""
        give_up_at, pause = time.monotonic() + patience_seconds, FIRST_PAUSE_SECONDS
        is_in_doubt = False
        while True:
            try:
                async with self._connection() as conn:
                    done = await work(conn)
                    if is_in_doubt:  # work that finds itself done writes nothing, and its commit waits for nobody
                        await conn.execute(BARRIER)
                    return done
            except psycopg.Error as error:
                if not is_transient(error):
                    raise
                is_in_doubt = is_in_doubt or isinstance(error, StatementCompletionUnknown)
                await self.forget_server(error)
                if time.monotonic() + pause > give_up_at:
                    raise DatabaseUnavailable() from error
                DATABASE_RETRIES.labels(self.name).inc()
                log.warning("database work is repeated", pool=self.name, error=str(error).strip())
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def forget_server(self, error: BaseException) -> None:
        """Drop pooled connections if the error says that their server is gone."""
        if server_is_lost(error):
            await self.connect_anew()

    async def connect_anew(self) -> None:
        """Replace all connections, those in use at their end: the address may lead elsewhere by now."""
        await self._pool.drain()

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What statements that change nothing find; repeated on a transient failure."""
        return await self._patiently(work, self.patience_seconds)

    async def fetch_all(self, query: Any, parameters: Any = None, *, binary: bool = False) -> Rows:
        """All rows of one read, as dictionaries; repeated on a transient failure. Binary halves what bytea takes."""
        return await self.read(lambda conn: rows_of(conn, query, parameters, binary=binary))

    async def execute(self, query: Any, parameters: Any = None) -> None:
        """One idempotent write; repeated on a transient failure."""

        async def write(conn: Connection) -> None:
            await conn.execute(query, parameters)

        await self._patiently(write, self.patience_seconds)

    async def fetch_one(self, query: Any, parameters: Any = None) -> dict[str, Any] | None:
        """The only row of one read or idempotent write, or None."""
        rows = await self.fetch_all(query, parameters)
        return rows[0] if rows else None
