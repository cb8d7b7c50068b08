"""The schema: numbered SQL files, applied in order under an advisory lock, and the check that they were."""

import time
from dataclasses import dataclass
from importlib import resources

import psycopg

from appstack_backend.logs import get_logger

log = get_logger()

LOCK = 7_261_406_515  # any number, the same for every migrator of this backend
# A migration that waits for a lock makes every later query wait behind it: give up quickly, try again.
LOCK_TIMEOUT, STATEMENT_TIMEOUT = "4s", "60s"
LOCK_ATTEMPTS = 15
WITHOUT_TRANSACTION = "-- without transaction"  # first line of files with CREATE INDEX CONCURRENTLY

VERSIONS_TABLE = """
    CREATE TABLE IF NOT EXISTS schema_versions (
        version integer PRIMARY KEY,
        name text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now())"""
APPLIED = "SELECT version FROM schema_versions"
MARK = "INSERT INTO schema_versions (version, name) VALUES (%s, %s)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, `NNNN_what_it_does.sql`."""

    version: int
    name: str
    sql: str

    @property
    def in_transaction(self) -> bool:
        return not self.sql.startswith(WITHOUT_TRANSACTION)

    def statements(self) -> list[str]:
        """The statements of a file without transaction: each ends with a semicolon at the end of a line."""
        lines = (line for line in self.sql.splitlines() if not line.lstrip().startswith("--"))
        return [part.strip() for part in "\n".join(lines).split(";\n") if part.strip(" \n;")]


def load_migrations() -> list[Migration]:
    """The migrations of this version of the code, in order."""
    folder = resources.files("appstack_backend") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files]


def migrate(dsn: str, migrations: list[Migration], wait_seconds: float = 60.0) -> list[str]:
    """Apply what is missing; returns the names of what was applied. Safe to run twice at once and to kill."""
    with connect_patiently(dsn, wait_seconds) as conn:
        hold_lock(conn)
        conn.execute(VERSIONS_TABLE)
        done = {row[0] for row in conn.execute(APPLIED)}
        missing = [migration for migration in migrations if migration.version not in done]
        for migration in missing:
            started = time.monotonic()
            apply(conn, migration)
            log.info("migration applied", migration=migration.name, seconds=round(time.monotonic() - started, 3))
        return [migration.name for migration in missing]


def connect_patiently(dsn: str, wait_seconds: float) -> psycopg.Connection:
    """A connection in autocommit mode; the database may still be starting."""
    give_up_at = time.monotonic() + wait_seconds
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            if time.monotonic() > give_up_at:
                raise
            log.warning("waiting for the database", error=str(error).strip())
            time.sleep(1)


def hold_lock(conn: psycopg.Connection) -> None:
    """Take the migrators' lock for this session.

    It is polled, not waited for: a waiting statement holds a snapshot, and CREATE INDEX CONCURRENTLY
    in the session that has the lock would wait for that snapshot for ever.
    """
    while True:
        row = conn.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        if row and row[0]:
            return
        time.sleep(0.2)


def apply(conn: psycopg.Connection, migration: Migration) -> None:
    """Apply one migration and mark it; in the same transaction where it has one."""
    if not migration.in_transaction:
        for statement in migration.statements():
            conn.execute(statement.encode())
        conn.execute(MARK, (migration.version, migration.name))
        return
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with conn.transaction():
                conn.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                conn.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
                conn.execute(migration.sql.encode())
                conn.execute(MARK, (migration.version, migration.name))
            return
        except psycopg.errors.LockNotAvailable:
            if attempt == LOCK_ATTEMPTS:
                raise
            log.warning("a lock is held; the migration is tried again", migration=migration.name)
            time.sleep(min(attempt, 5))


def missing_versions(applied: set[int], migrations: list[Migration]) -> list[int]:
    """What the code needs and the database lacks. A newer schema is fine: migrations only expand."""
    return sorted({migration.version for migration in migrations} - applied)
