"""PostgreSQL, Redis with Sentinels, and RabbitMQ, each on free ports of loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import psycopg
from redis.sentinel import Sentinel

from tests.backend.kit.processes import descendants
from tests.backend.kit.rootfs import Box, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

POSTGRES_USER, REDIS_USER, RABBITMQ_USER = 5432, 6379, 5672  # the images' numeric users
PASSWORD = "secret"
SECOND_ADDRESS = "127.0.0.2"  # where RabbitMQ can be met as well, as if it were another node
START_SECONDS = 180.0  # a limit for hangs
PATH = "PATH=/usr/lib/postgresql/17/bin:/usr/lib/rabbitmq/bin:/usr/bin:/bin"

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # processes are killed here, not machines
    "max_wal_size": "4GB",
    "shared_buffers": "256MB",
    "max_connections": "100",
}


def wait_for(is_up: Callable[[], bool], server: Server, what: str) -> None:
    """Wait for a server; a dead one is told at once, with its log."""
    give_up_at = time.monotonic() + START_SECONDS
    while not is_up():
        server.check()
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what} did not start:\n{server.log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


class Postgres:
    """PostgreSQL 17 in a folder; it may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._box, self.port = Box("postgres", POSTGRES_USER, folder), free_port()
        self._server: Server | None = None
        self.dsn = f"postgresql://app:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        password_file = self._box.write("password", PASSWORD)
        self._box.run(
            *("env", PATH, "initdb", "--pgdata=/scratch/data", "--username=app", f"--pwfile={password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        )

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self._box.folder / "scratch" / "data"

    def run(self, *command: str) -> str:
        """Run something in its image, beside its data."""
        return self._box.run(*command)

    def launch(self, *command: str) -> Server:
        """Start something in its image, beside its data."""
        return self._box.start(*command)

    def copy(self, primary: Postgres) -> None:
        """Become a replica of a running primary, in place of the empty database."""
        shutil.rmtree(self.data)
        self._box.run(
            *("env", PATH, "pg_basebackup", "--pgdata=/scratch/data", "--write-recovery-conf", "--no-sync"),
            *("--checkpoint=fast", f"--dbname={primary.dsn}"),
        )

    def append_settings(self, lines: str) -> None:
        """More settings for the next start; those of the kit win."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(lines)

    def start(self, **more: str) -> None:
        """Start it and wait until it answers; `more` settings win over the kit's."""
        settings = {**POSTGRES_SETTINGS, "port": self.port, **more}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._server = self._box.start("env", PATH, "postgres", "-D", "/scratch/data", *options)
        wait_for(self.is_up, self._server, "PostgreSQL")

    def is_up(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        assert self._server is not None
        for pid in descendants(self._server.process.pid):
            with suppress(ProcessLookupError):  # one that goes on may end at once
                os.kill(pid, number)

    def kill(self) -> None:
        """As a crash does it."""
        if self._server is not None:
            self._server.stop()
            self._box.remove("data/postmaster.pid")  # names a process of a namespace that is gone

    def restart_as(self, *, standby: bool) -> None:
        """Start again as a server that only reads, or as one that writes."""
        self.kill()
        self._box.remove("data/standby.signal")
        if standby:
            self._box.write("data/standby.signal", "")
        self.start()


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A running PostgreSQL with an empty database."""
    server = Postgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def going_on_after(frozen: Postgres) -> Iterator[None]:
    """A server that stands still goes on after the block, however that ends."""
    try:
        yield
    finally:
        frozen.signal(signal.SIGCONT)


@contextmanager
def replica(folder: Path, primary: Postgres) -> Iterator[Postgres]:
    """A running replica that streams from the primary."""
    server = Postgres(folder)
    server.copy(primary)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def answers(port: int, request: bytes, expected: bytes) -> bool:
    """Whether a line protocol on loopback answers as it should."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(request)
            return expected in connection.recv(4096)
    except OSError:
        return False


@contextmanager
def redis(folder: Path, down_after_seconds: float = 60.0) -> Iterator[dict[str, str]]:
    """A Redis 8 master, a replica and three Sentinels; yields the environment that names them.

    A master that is silent for a while on a busy machine is not replaced: its URL goes on to name the master.
    """
    master, replica, sentinels = free_port(), free_port(), [free_port() for _ in range(3)]
    common = f"bind 127.0.0.1\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\ndir /scratch\nsave ''\n"
    sentinel = (
        f"bind 127.0.0.1\nrequirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\ndir /scratch\n"
        f"sentinel monitor test.shop 127.0.0.1 {master} 2\nsentinel auth-pass test.shop {PASSWORD}\n"
        f"sentinel down-after-milliseconds test.shop {int(down_after_seconds * 1000)}\n"
        "sentinel failover-timeout test.shop 3000\n"
    )
    configurations = {
        "master": (master, common),
        "replica": (replica, f"{common}replicaof 127.0.0.1 {master}\n"),
        **{f"sentinel-{number}": (port, sentinel) for number, port in enumerate(sentinels)},
    }
    running: list[Server] = []
    try:
        for name, (port, text) in configurations.items():
            box = Box("redis", REDIS_USER, folder / name)
            file = box.write("redis.conf", f"port {port}\n{text}")
            mode = ["--sentinel"] if name.startswith("sentinel") else []
            running.append(box.start("redis-server", file, *mode))
            ping = f"AUTH {PASSWORD}\r\nPING\r\n".encode()
            wait_for(partial(answers, port, ping, b"PONG"), running[-1], name)
        yield {
            "REDIS_SENTINELS": ",".join(f"127.0.0.1:{port}" for port in sentinels),
            "REDIS_SENTINEL_MASTER": "test.shop",
            "REDIS_PASSWORD": PASSWORD,
            "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{master}/0",
        }
    finally:
        for server in reversed(running):
            server.stop()


def url_of_master(environment: Mapping[str, str]) -> str:
    """Who is master now: a test before may have failed over."""
    host, _, port = environment["REDIS_SENTINELS"].partition(",")[0].rpartition(":")
    sentinel = Sentinel([(host, int(port))], sentinel_kwargs={"password": PASSWORD})  # type: ignore[no-untyped-call]
    host, number = sentinel.discover_master(environment["REDIS_SENTINEL_MASTER"])  # type: ignore[no-untyped-call]
    return f"redis://:{PASSWORD}@{host}:{number}/0"


class RabbitMQ:
    """One RabbitMQ 4 node in a folder; it may be killed and started again.

    Nodes that share an `epmd` (its port) find each other, and a new one joins the node that it is to `join`.
    """

    def __init__(self, folder: Path, epmd: int = 0, join: str = "") -> None:
        self._box, self._folder = Box("rabbitmq", RABBITMQ_USER, folder), folder
        self._server: Server | None = None
        self.port, distribution, epmd = free_port(), free_port(), epmd or free_port()
        self.name = f"test{self.port}@localhost"
        nodes = enumerate([self.name, *([join] if join else [])], 1)
        self.url = f"amqp://app:{PASSWORD}@127.0.0.1:{self.port}/%2F"
        self._box.write(
            "rabbitmq.conf",
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlisteners.tcp.2 = {SECOND_ADDRESS}:{self.port}\n"
            f"default_user = app\ndefault_pass = {PASSWORD}\n"
            "log.console = true\nlog.file = false\nvm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 50MB\n"
            + "".join(f"cluster_formation.classic_config.nodes.{number} = {node}\n" for number, node in nodes),
        )
        self._box.write(".erlang.cookie", PASSWORD)
        self._box.write("enabled_plugins", "[].\n")
        self._environment = {
            "HOME": "/scratch",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": distribution,
            "ERL_EPMD_PORT": epmd,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONFIG_FILE": "/scratch/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/scratch/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": "/scratch/data",
            "RABBITMQ_LOG_BASE": "/scratch",
            "RABBITMQ_PID_FILE": "/scratch/pid",
            "RABBITMQ_FEATURE_FLAGS_FILE": "/scratch/feature_flags",
            "RABBITMQ_GENERATED_CONFIG_DIR": "/scratch/config",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
            "LANG": "C.UTF-8",
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        wait_for(self.is_up, self.begin(), "RabbitMQ")

    def begin(self) -> Server:
        """Start it."""
        self._server = self._box.start("env", PATH, *self._settings(), "rabbitmq-server")
        return self._server

    def _settings(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._environment.items()]

    def control(self, *words: str) -> str:
        """What rabbitmqctl says, run beside it."""
        beside = Box("rabbitmq", RABBITMQ_USER, self._folder / "beside")
        beside.write(".erlang.cookie", PASSWORD)
        return beside.run("env", PATH, *self._settings(), "rabbitmqctl", "--node", self.name, *words)

    def log(self) -> str:
        """What it has said."""
        return (self._folder / "log").read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        """Whether it was begun and ended by itself."""
        return self._server is not None and self._server.process.poll() is not None

    def lose_volume(self) -> None:
        """Everything it knew."""
        shutil.rmtree(self._folder / "scratch" / "data")

    def is_up(self) -> bool:
        return answers(self.port, b"AMQP\x00\x00\x09\x01", b"\x00\x0a\x00\x0a")

    def kill(self) -> None:
        """As a crash does it."""
        if self._server is not None:
            self._server.stop()
            self._box.remove("pid")


@contextmanager
def rabbitmq(folder: Path) -> Iterator[RabbitMQ]:
    """A running RabbitMQ node."""
    server = RabbitMQ(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
