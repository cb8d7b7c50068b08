"""A client that writes numbered rows one after the other and tells, line by line, what it was told.

Run as a process of its own: `python sql_writer.py URL TABLE CLIENT SECONDS`, CLIENT being `held` (one connection until
it breaks) or `reconnecting` (a connection for every row). Each line of its output is one write as JSON: number, begin
and end (seconds, the machine's clock), whether it was acknowledged, and the error if it was not. A commit whose wait
for the standby was cancelled comes with a warning: that is no acknowledgement.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress

import psycopg

PAUSE_SECONDS = 0.02
# What a careful client sets: a peer that is gone is noticed within two seconds.
CAREFUL = {"connect_timeout": 2, "tcp_user_timeout": 2000, "keepalives_idle": 1, "keepalives_interval": 1}


class Client:
    """One client and its connection."""

    def __init__(self, url: str, table: str, *, holds: bool) -> None:
        """Connect, and make the table where it is missing."""
        self.url, self.table, self.holds = url, table, holds
        self.warnings: list[str] = []
        self.connection: psycopg.Connection[tuple[int]] | None = self.connect()
        self.connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (i bigint PRIMARY KEY)")

    def connect(self) -> psycopg.Connection[tuple[int]]:
        connection = psycopg.connect(self.url, autocommit=True, **CAREFUL)  # type: ignore[arg-type]
        connection.add_notice_handler(lambda notice: self.warnings.append(str(notice.message_primary)))
        return connection

    def write(self, number: int) -> str:
        """Write one row; empty when it was acknowledged, else what went wrong."""
        self.warnings.clear()
        try:
            if self.connection is None:
                self.connection = self.connect()
            self.connection.execute(f"INSERT INTO {self.table} VALUES (%s)", (number,))
        except psycopg.Error as error:
            self.close()
            return str(error).splitlines()[0]
        if not self.holds:
            self.close()
        return "; ".join(self.warnings)

    def close(self) -> None:
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.close()
        self.connection = None


def main() -> None:
    url, table, kind, seconds = sys.argv[1:5]
    client = Client(url, table, holds=kind == "held")
    deadline, number = time.time() + float(seconds), 0
    while time.time() < deadline:
        number += 1
        begin = time.time()
        error = client.write(number)
        told = {"i": number, "begin": begin, "end": time.time(), "acknowledged": not error, "error": error}
        print(json.dumps(told), flush=True)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
