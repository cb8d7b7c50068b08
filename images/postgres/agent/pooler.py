#!/usr/bin/python3
"""A pooler's first process: runs PgBouncer with its password in memory, has it follow the primary, stops it gently."""

import configparser
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import extensions

PROBES_PORT = 8009
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 2.0
WHO = """
    SELECT host(inet_server_addr()) || ':' || inet_server_port() || ' since ' || pg_postmaster_start_time()
    WHERE NOT pg_is_in_recovery()"""


def quoted(text: str) -> str:
    """A string of PgBouncer's password file."""
    return '"' + text.replace('"', '""') + '"'


def primary_of(configuration: configparser.ConfigParser) -> dict[str, str]:
    """Where PgBouncer finds the primary: host, port and database, as libpq takes them."""
    words = shlex.split(configuration["databases"]["app"])
    settings = dict(word.split("=", 1) for word in words)
    return {key: settings[key] for key in ("host", "port", "dbname")}


def wait(connection: Any) -> None:
    """Wait for a server's words: one that is frozen keeps its sockets open and says nothing. Raises psycopg2.Error."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while (state := connection.poll()) != extensions.POLL_OK:
        reads, writes = (
            [connection] if state == each else [] for each in (extensions.POLL_READ, extensions.POLL_WRITE)
        )
        if not any(select.select(reads, writes, [], max(0.0, deadline - time.monotonic()))):
            raise psycopg2.OperationalError(f"no answer for {ANSWER_SECONDS:g} s")


class Follower:
    """Has PgBouncer close its connections to a former primary once another one serves.

    A former primary that was frozen takes itself for one until it has looked at its lock: it would pass the check of an
    idle connection, and answer once more.
    """

    def __init__(self, primary: Mapping[str, str], console: Mapping[str, str]) -> None:
        self._primary, self._console = primary, console
        self._connection: Any = None
        self._seen = ""

    def look(self) -> None:
        """Ask who is the primary, over a connection that lasts; where nobody says so, the next look asks anew."""
        try:
            self._connection = self._connection or connect(self._primary)
            if (now := one(self._connection, WHO)) is None:
                self._let_go()
            elif now != self._seen:
                ask(self._console, "RECONNECT")
                print(f"the primary is {now}: no connection to another one stays", flush=True)
                self._seen = now
        except psycopg2.Error:
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def connect(place: Mapping[str, str]) -> Any:
    """A connection without transactions, which PgBouncer's console does not know. Raises psycopg2.Error."""
    connection = psycopg2.connect(**place)
    connection.autocommit = True
    return connection


def ask(console: Mapping[str, str], command: str) -> None:
    """Have PgBouncer's console carry out a command. Raises psycopg2.Error."""
    connection = connect(console)
    try:
        connection.cursor().execute(command)
    finally:
        connection.close()


def one(connection: Any, query: str) -> str | None:
    """The one value of an answer; None where it has no row. Raises psycopg2.Error."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    return None if row is None else str(row[0])


def follow(follower: Follower) -> None:
    """Look again and again."""
    while True:
        follower.look()
        time.sleep(LOOK_SECONDS)


def serve_probes(console: Mapping[str, str], port: int) -> None:
    """Say in the background whether PgBouncer answers: the kernel takes connections for one that is frozen."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            """200 or 503, whatever is asked."""
            try:
                ask(console, "SHOW VERSION")
            except psycopg2.Error as error:
                self.answer(503, str(error))
            else:
                self.answer(200, "")

        def answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not worth a line."""

    server = ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> int:
    """Run until PgBouncer ends."""
    configuration = configparser.ConfigParser(interpolation=None)
    configuration.read(sys.argv[1])
    user, password, settings = os.environ["APP_USERNAME"], os.environ["APP_PASSWORD"], configuration["pgbouncer"]
    users = Path(settings["auth_file"])
    users.touch(mode=0o600)
    users.write_text(f"{quoted(user)} {quoted(password)}\n")
    bouncer = subprocess.Popen(["/usr/sbin/pgbouncer", *sys.argv[1:]])

    def stop(_number: int, _frame: FrameType | None) -> None:
        # PgBouncer waits for its clients on SIGTERM, and they stay; on SIGINT it lets transactions end.
        bouncer.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    extensions.set_wait_callback(wait)
    primary = {**primary_of(configuration), "user": user, "password": password, "application_name": "pooler"}
    # Over this socket PgBouncer believes its own user.
    place = {"host": settings["unix_socket_dir"], "port": settings["listen_port"]}
    console = {**place, "user": "pgbouncer", "dbname": "pgbouncer"}
    threading.Thread(target=follow, args=(Follower(primary, console),), daemon=True).start()
    serve_probes(console, int(os.environ.get("PROBES_PORT", PROBES_PORT)))
    return bouncer.wait()


if __name__ == "__main__":
    sys.exit(main())
