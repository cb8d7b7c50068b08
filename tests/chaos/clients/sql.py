"""Clients of PostgreSQL: writers that append to lists, held or reconnecting, and a reader."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors

from tests.chaos.clients.lists import TICK_SECONDS, Numbers, Shown, list_of, number_at
from tests.chaos.history import Action, Outcome
from tests.chaos.reigns import REPLICA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.clients.record import Recorder, Result
    from tests.chaos.clients.target import Postgres, Target

RHYTHM_SECONDS = TICK_SECONDS
WRITERS = ("sql-held", "sql-reconnecting")  # whose lists are read
ANSWER_SECONDS = 2.0
INSIDE_SECONDS = 60.0  # longer than any cut: a commit that a cut-off primary lets go late must meet its client
REACH_SECONDS = 0.5
PORT = 5432

SCHEMA = "CREATE TABLE IF NOT EXISTS chaos_lists (key text PRIMARY KEY, items bigint[] NOT NULL)"
APPEND = """
    INSERT INTO chaos_lists AS kept VALUES (%s, ARRAY[%s::bigint])
    ON CONFLICT (key) DO UPDATE SET items = kept.items || EXCLUDED.items
    RETURNING host(inet_server_addr()) || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"""
READ = "SELECT (SELECT items FROM chaos_lists WHERE key = %s), pg_is_in_recovery()"

WARNING = "01000"  # of no class of its own: what is said after a cancel

# Errors of a statement that the server refused: certainly without effect.
REFUSALS = (errors.ReadOnlySqlTransaction, errors.CannotConnectNow, errors.TooManyConnections)


class Unreached(Exception):
    """No connection: nothing was sent."""


class Connection:
    """One connection with time limits of its own: a frozen server keeps its sockets open and says nothing."""

    def __init__(self, place: Postgres, host: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Connect. Raises Unreached."""
        self.answer_seconds = answer_seconds
        self.notices: list[tuple[str | None, str | None]] = []  # what the server said beside its answer: state, words
        try:
            socket.create_connection((host, PORT), REACH_SECONDS).close()
            self._conn = psycopg.connect(
                host=host,
                port=PORT,
                user=place.user,
                password=place.password,
                dbname=place.dbname,
                connect_timeout=2,
                autocommit=True,
                prepare_threshold=None,  # behind a pooler the next statement may meet another server process
                application_name="chaos",
            )
        except (OSError, psycopg.Error) as error:
            raise Unreached(str(error)) from error
        # Read at once: a diagnostic is empty after its handler.
        self._conn.add_notice_handler(lambda told: self.notices.append((told.sqlstate, told.message_primary)))

    def run(self, query: str, values: Sequence[Any]) -> list[Any]:
        """One statement, cut off after its time limit."""
        self.notices.clear()
        cutter = threading.Timer(self.answer_seconds, self.cut)
        cutter.start()
        try:
            cursor = self._conn.execute(query, values)
            return cursor.fetchall() if cursor.description else []
        finally:
            cutter.cancel()

    def cut(self) -> None:
        """End the connection under a statement that waits; the other side may never notice."""
        try:
            with socket.socket(fileno=os.dup(self._conn.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            pass  # it ended by itself

    def close(self) -> None:
        self._conn.close()


def outcome_of_commit(sqlstates: Sequence[str | None]) -> Outcome:
    """Whether a statement that succeeded with these notices was acknowledged as replicated.

    A cancel or a shutdown ends the wait for the synchronous standby with a warning, and the commit stands on the
    primary alone: nobody was promised that it survives.
    """
    given_up = {WARNING, errors.AdminShutdown.sqlstate}
    return Outcome.UNKNOWN if given_up & set(sqlstates) else Outcome.OK


class Writer:
    """Appends growing numbers to lists of its own."""

    def __init__(
        self, place: Postgres, host: str, client: str, *, is_held: bool, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.place, self.host, self.client, self.is_held = place, host, client, is_held
        self.answer_seconds = answer_seconds
        self._connection: Connection | None = None
        self.server = ""  # who acknowledged the last append: ADDRESS/TIMELINE

    def append(self, number: int) -> Result:
        """One append; a connection that failed is never used again."""
        keep, self.server = False, ""
        try:
            self._connection = self._connection or Connection(self.place, self.host, self.answer_seconds)
            self.server = str(self._connection.run(APPEND, (self.key(number), number))[0][0] or "")
            outcome = outcome_of_commit([sqlstate for sqlstate, _ in self._connection.notices])
            keep = self.is_held
            words = "; ".join(str(said) for _, said in self._connection.notices)
        except (Unreached, *REFUSALS) as error:
            outcome, words = Outcome.FAILED, str(error)
        except psycopg.Error as error:
            outcome, words = Outcome.UNKNOWN, f"{type(error).__name__}: {error}"
        if not keep and self._connection is not None:
            self._connection.close()
            self._connection = None
        return number, outcome, words

    def key(self, number: int) -> str:
        """The list that an element goes to."""
        return key_of(self.client, list_of(number))


def key_of(client: str, number: int) -> str:
    """The key of a client's list."""
    return f"{client}/{number}"


def write(
    recorder: Recorder, place: Postgres, host: str, *, is_held: bool, answer_seconds: float = ANSWER_SECONDS
) -> None:
    """Write until told to end."""
    writer = Writer(place, host, recorder.client, is_held=is_held, answer_seconds=answer_seconds)
    numbers = Numbers()

    def step(_: int) -> bool:
        number = numbers.next(time.monotonic())
        return recorder.attempt(Action.APPEND, writer.key(number), lambda: writer.append(number), lambda: writer.server)

    recorder.every(RHYTHM_SECONDS, step)


def write_held(recorder: Recorder, target: Target) -> None:
    """Over one connection through the primary's Service, for as long as it lives."""
    write(recorder, target.postgres, target.postgres.host, is_held=True)


def write_isolated(recorder: Recorder, target: Target) -> None:
    """Over one connection from before the cut, straight to one server, and as patient as a client can be."""
    write(recorder, target.postgres, target.postgres.host, is_held=True, answer_seconds=INSIDE_SECONDS)


def write_reconnecting(recorder: Recorder, target: Target) -> None:
    """Over a new connection each time."""
    write(recorder, target.postgres, target.postgres.host, is_held=False)


def read(recorder: Recorder, target: Target) -> None:
    """A replica (may be old), and beside it the newest lists of both writers from the primary (must be fresh).

    Whoever waits for a primary that says nothing would else not ask the replica: a gap of the client's own.
    """
    replica, primary = (Reader(target.postgres, host) for host in (target.postgres.replica_host, target.postgres.host))
    recorder.side_by_side(
        2 * RHYTHM_SECONDS,
        lambda _: recorder.attempt(Action.PROBE, "replica", replica.count),
        lambda number: read_list(recorder, primary, number),
    )


def read_isolated(recorder: Recorder, target: Target) -> None:
    """The same lists straight from one server, whoever leads: what a client beside a cut-off primary is shown."""
    reader = Reader(target.postgres, target.postgres.host)
    recorder.every(RHYTHM_SECONDS, lambda number: read_list(recorder, reader, number))


def read_list(recorder: Recorder, reader: Reader, number: int) -> bool:
    """The number-th look at the writers' lists, in turn."""
    client = WRITERS[number % len(WRITERS)]
    key = reader.key(client, number_at(time.monotonic()), number // len(WRITERS))
    return recorder.attempt(Action.READ_LIST, key, lambda: reader.items(client, key), lambda: reader.server)


class Reader:
    """Reads over one connection, a new one after each failure."""

    def __init__(self, place: Postgres, host: str) -> None:
        self.place, self.host = place, host
        self.shown = Shown()
        self.server = ""  # which role the server had that gave the last list
        self._connection: Connection | None = None

    def count(self) -> Result:
        """How many lists there are: any answer will do."""
        rows, words = self._ask("SELECT count(*)::bigint FROM chaos_lists", ())
        return (rows[0][0], Outcome.OK, "") if rows else (None, Outcome.FAILED, words)

    def key(self, client: str, number: int, look: int) -> str:
        """The list of a writer to ask for when it writes this number."""
        return key_of(client, self.shown.next(client, number, look))

    def items(self, client: str, key: str) -> Result:
        """One list."""
        rows, words = self._ask(READ, (key,))
        if rows is None:
            self.server = ""
            return None, Outcome.FAILED, words
        found: list[int] = rows[0][0] or []
        self.server = REPLICA if rows[0][1] else "primary"
        self.shown.note(client, found)
        return found, Outcome.OK, ""

    def _ask(self, query: str, values: Sequence[Any]) -> tuple[list[Any] | None, str]:
        try:
            self._connection = self._connection or Connection(self.place, self.host)
            return self._connection.run(query, values), ""
        except (Unreached, psycopg.Error) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return None, str(error)


def prepare(place: Postgres) -> None:
    """Make the table, empty."""
    connection = Connection(place, place.host)
    connection.run(SCHEMA, ())
    connection.run("TRUNCATE chaos_lists", ())
    connection.close()


def forget_feeds(place: Postgres) -> None:
    """Empty the backend's tables of what the feeds of earlier runs brought, so that each run meets the same database.

    Forty-five runs had made 8 million rows of it, and a load average of 3 had become one of 13.
    """
    connection = Connection(place, place.host, INSIDE_SECONDS)
    connection.run("TRUNCATE products, stock, imports, catalogue_counts CASCADE", ())
    connection.close()


def read_all(place: Postgres) -> dict[str, list[int]]:
    """Every list, from the primary."""
    connection = Connection(place, place.host)
    try:
        return dict(connection.run("SELECT key, items FROM chaos_lists", ()))
    finally:
        connection.close()


def register(place: Postgres, sku: str) -> int | None:
    """The price of a product, as the API's register; None where there is no such product."""
    connection = Connection(place, place.host)
    try:
        rows = connection.run("SELECT price FROM products WHERE sku = %s", (sku,))
        return int(rows[0][0]) if rows else None
    finally:
        connection.close()


def count_products(place: Postgres, prefix: str) -> int:
    """How many products have a SKU that begins so."""
    connection = Connection(place, place.host)
    try:
        query = "SELECT count(*)::bigint FROM products WHERE starts_with(sku, %s)"
        return int(connection.run(query, (prefix,))[0][0])
    finally:
        connection.close()
