"""A backend that several tests of a file share, with a database that can be changed or taken away for a moment."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend.kit.processes import Api, Backend


@dataclass
class World:
    """A backend with its helpers: what most codes need."""

    backend: Backend
    api: Api
    dsn: str
    apis: dict[str, Api]

    def start_api(self, name: str, **environment: str) -> Api:
        """Another API beside the first, started once."""
        if name not in self.apis:
            port = self.backend.api_port
            self.backend.start_api(**environment)
            self.apis[name], self.backend.api_port = self.backend.client(), port
        return self.apis[name]

    @contextmanager
    def sql(self, do: str, undo: str) -> Iterator[None]:
        """The database, changed for a moment."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            conn.execute(do.encode())
            try:
                yield
            finally:
                conn.execute(undo.encode())


@contextmanager
def without_database(w: World) -> Iterator[None]:
    """The database ends all connections and takes none."""
    cut = f"ALTER DATABASE {w.dsn.rpartition('/')[2]} ALLOW_CONNECTIONS"
    admin = w.dsn.rpartition("/")[0] + "/postgres"
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(f"{cut} false".encode())
        try:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (w.dsn.rpartition("/")[2],)
            )
            yield
        finally:
            conn.execute(f"{cut} true".encode())
