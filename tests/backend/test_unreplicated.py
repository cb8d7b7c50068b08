"""A commit whose wait for the standby is ended from outside: it stands, and nobody is told that it will last."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.errors import StatementCompletionUnknown

from appstack_backend import schema
from appstack_backend.database import BARRIER, Database
from appstack_backend.errors import DatabaseUnavailable
from tests.backend.kit import servers
from tests.backend.kit.processes import wait_until
from tests.backend.test_queries import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from appstack_backend.database import Connection

    Write = Callable[[Database, str], Coroutine[Any, Any, None]]

HANG_SECONDS = 60.0
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL, TERMINATE = "SELECT pg_cancel_backend(%s)", "SELECT pg_terminate_backend(%s)"
# Whoever repeats it finds it done, and writes nothing.
WRITE = "INSERT INTO kept VALUES (%s) ON CONFLICT DO NOTHING"
THING = {"name": "Thing", "price": "1", "currency": "EUR"}


class Primary:
    """A server whose commits wait for a standby that is away, and the administrator who looks after it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._admin = psycopg.connect(dsn, autocommit=True, options="-c synchronous_commit=local")

    def close(self) -> None:
        self._admin.close()

    @contextmanager
    def without_standby(self) -> Iterator[None]:
        """Commits wait meanwhile."""
        self._set("SET synchronous_standby_names = 'nobody'")
        try:
            self._wait_until_commits_wait()
            yield
        finally:
            self.let_go()

    def _wait_until_commits_wait(self) -> None:
        """A changed setting is in force once a process beside has read it, which takes its time."""
        with psycopg.connect(self.dsn, autocommit=True) as probe, ThreadPoolExecutor(1) as pool:

            def commit() -> None:
                while not is_waiting.is_set():
                    probe.execute(BARRIER)

            is_waiting = Event()
            committing = pool.submit(commit)
            try:
                wait_until(lambda: self.has_waiting, "a commit waits", HANG_SECONDS)
            finally:
                is_waiting.set()
            wait_until(lambda: self.end_wait(CANCEL), "it is ended", HANG_SECONDS)
            committing.result(HANG_SECONDS)

    def let_go(self) -> None:
        """What waits is acknowledged, as when the standby is back."""
        self._set("RESET synchronous_standby_names")

    def _set(self, what: str) -> None:
        self._admin.execute(f"ALTER SYSTEM {what}".encode())
        self._admin.execute("SELECT pg_reload_conf()")

    def end_wait(self, how: str) -> bool:
        """End the wait of a commit, if one waits."""
        row = self._admin.execute(WAITING).fetchone()
        if row:
            self._admin.execute(how.encode(), row)
        return row is not None

    @property
    def has_waiting(self) -> bool:
        return self._admin.execute(WAITING).fetchone() is not None

    def holds(self, query: str, value: str) -> bool:
        """Whether a row is there, replicated or not."""
        return self._admin.execute(query.encode(), (value,)).fetchone() is not None

    def execute(self, statement: str) -> None:
        """Without waiting for any standby."""
        self._admin.execute(statement.encode())


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Primary]:
    with servers.postgres(tmp_path_factory.mktemp("primary")) as server:
        schema.migrate(server.dsn, schema.load_migrations())
        made = Primary(server.dsn)
        made.execute("CREATE TABLE kept (what text PRIMARY KEY)")
        yield made
        made.close()


@asynccontextmanager
async def opened(primary: Primary, patience_seconds: float) -> AsyncIterator[Database]:
    database = Database(primary.dsn, "test", size=1, patience_seconds=patience_seconds)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def every_wait_ended(primary: Primary, how: str = CANCEL) -> AsyncIterator[None]:
    """An administrator who lets no commit wait."""

    async def end() -> None:
        while True:
            primary.end_wait(how)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(end())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(is_so: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, is_so, what, HANG_SECONDS)


async def by_run(database: Database, what: str) -> None:
    async def work(conn: Connection) -> None:
        await conn.execute(WRITE, (what,))

    await database.run(work)


async def by_execute(database: Database, what: str) -> None:
    await database.execute(WRITE, (what,))


async def by_fetch(database: Database, what: str) -> None:
    await database.fetch_one(f"{WRITE} RETURNING what", (what,))


ways = pytest.mark.parametrize("write", [by_run, by_execute, by_fetch])


@ways
async def test_a_commit_whose_wait_was_cancelled_is_no_success(primary: Primary, write: Write) -> None:
    what = f"cancelled {write}"
    with primary.without_standby():
        async with opened(primary, patience_seconds=0) as database, every_wait_ended(primary):
            with pytest.raises(DatabaseUnavailable):
                await asyncio.wait_for(write(database, what), HANG_SECONDS)
    assert primary.holds("SELECT 1 FROM kept WHERE what = %s", what), "it stands, and a failover would take it away"


@ways
@pytest.mark.parametrize("how", [CANCEL, TERMINATE], ids=["cancelled", "session ended"])
async def test_it_is_a_success_once_the_standby_has_it(primary: Primary, write: Write, how: str) -> None:
    """Work that is repeated finds itself done, so that it writes nothing: its own commit would wait for nobody."""
    with primary.without_standby():
        async with opened(primary, patience_seconds=HANG_SECONDS) as database:
            writing = asyncio.create_task(write(database, f"{how} {write}"))
            await until(lambda: primary.end_wait(how), "a commit waits, and is ended")
            await asyncio.sleep(0.5)
            assert not writing.done(), "nobody has it but the primary"
            await until(lambda: primary.has_waiting, "another one waits")
            primary.let_go()
            await asyncio.wait_for(writing, HANG_SECONDS)


async def test_a_transaction_that_is_not_repeated_fails(primary: Primary) -> None:
    with primary.without_standby():
        async with opened(primary, patience_seconds=0) as database, every_wait_ended(primary):
            with pytest.raises(StatementCompletionUnknown):
                async with database.transaction() as conn:
                    await conn.execute(WRITE, ("transaction",))


async def test_no_timeout_that_somebody_gave_the_role_makes_it_a_success(primary: Primary) -> None:
    primary.execute("ALTER ROLE app SET statement_timeout = '200ms'")
    try:
        with primary.without_standby():
            async with opened(primary, patience_seconds=HANG_SECONDS) as database:
                writing = asyncio.create_task(by_run(database, "timeout"))
                await until(lambda: primary.has_waiting, "a commit waits")
                await asyncio.sleep(1.0)
                assert not writing.done()
                primary.let_go()
                await asyncio.wait_for(writing, HANG_SECONDS)
    finally:
        primary.execute("ALTER ROLE app RESET statement_timeout")


async def test_any_other_warning_is_none_of_our_business(primary: Primary) -> None:
    async with opened(primary, patience_seconds=0) as database:
        await database.execute("DO $$ BEGIN RAISE WARNING 'beware'; END $$")


async def test_the_api_does_not_acknowledge_a_change_that_only_the_primary_has(primary: Primary) -> None:
    async with application(primary.dsn, database_patience_seconds=1) as (http, _):
        with primary.without_standby():
            async with every_wait_ended(primary):
                answer = await asyncio.wait_for(http.put("/v1/products/cancelled", json=THING), HANG_SECONDS)
        assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
        assert primary.holds("SELECT 1 FROM products WHERE sku = %s", "cancelled")
        again = await http.put("/v1/products/cancelled", json=THING)
        assert again.status_code == 200, "sent again, as its 503 says, with the standby back"


async def test_the_api_acknowledges_a_change_once_the_standby_has_it(primary: Primary) -> None:
    async with application(primary.dsn, database_patience_seconds=HANG_SECONDS) as (http, _):
        with primary.without_standby():
            sending = asyncio.create_task(http.put("/v1/products/late", json=THING))
            await until(lambda: primary.end_wait(CANCEL), "a commit waits, and is cancelled")
            await asyncio.sleep(0.5)
            assert not sending.done()
            await until(lambda: primary.has_waiting, "another one waits")
            primary.let_go()
            answer = await asyncio.wait_for(sending, HANG_SECONDS)
        assert answer.status_code == 201, answer.text
