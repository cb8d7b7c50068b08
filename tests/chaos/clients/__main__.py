"""One client: `python -m tests.chaos.clients NAME --target FILE --history DIRECTORY [--host ADDRESS]`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.clients.record import Recorder
from tests.chaos.clients.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1

# The first word of a name is the service, the second one the kind; a suffix after a dot tells copies apart.
# Modules are loaded by name: a client of one service needs not pay for the libraries of the others.
CLIENTS = {
    "sql-held": "sql.write_held",
    "sql-reconnecting": "sql.write_reconnecting",
    "sql-isolated": "sql.write_isolated",
    "sql-isolated-reader": "sql.read_isolated",
    "sql-reader": "sql.read",
    "redis-held": "redis.write_held",
    "redis-reconnecting": "redis.write_reconnecting",
    "redis-isolated": "redis.write_isolated",
    "redis-isolated-reader": "redis.read_isolated",
    "redis-reader": "redis.read",
    "rabbitmq-held": "rabbitmq.publish_held",
    "rabbitmq-reconnecting": "rabbitmq.publish_reconnecting",
    "rabbitmq-isolated": "rabbitmq.publish_held",
    "rabbitmq-reader": "rabbitmq.read",
    "api-writer": "api.write_held",
    "api-reconnecting-writer": "api.write_reconnecting",
    "api-held": "api.read_held",
    "api-reconnecting": "api.read_reconnecting",
    "api-retrying": "api.read_retrying",
    "api-import": "api.send_feeds",
}


def main() -> None:
    """Run one client until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help=f"{', '.join(CLIENTS)}; NAME.2 is another one of the same kind")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--history", type=Path, required=True, help="the directory of NAME.jsonl")
    parser.add_argument("--copies", type=int, nargs=2, metavar="N", help="instead of NAME: NAME.N of this range")
    parser.add_argument("--host", default="", help="straight to this server, whoever leads")
    args = parser.parse_args()
    target = seen_by(Target.load(args.target), args.host, is_late=bool(args.copies))
    module, _, function = CLIENTS[args.name.partition(".")[0]].partition(".")
    run = getattr(importlib.import_module(f"tests.chaos.clients.{module}"), function)

    def start(name: str) -> None:
        run(Recorder(name, args.history / f"{name}.jsonl"), target)

    if args.copies:
        run_copies(start, [f"{args.name}.{number}" for number in range(*args.copies)])
    else:
        start(args.name)


def seen_by(target: Target, host: str, *, is_late: bool) -> Target:
    """The target of a client that talks straight to a server, or that comes once pods may have been struck."""
    if is_late:
        target = replace(target, api_pod="", rabbitmq_pod="")
    if not host:
        return target
    return replace(
        target,
        postgres=replace(target.postgres, host=host),
        redis=replace(target.redis, host=host),
        amqp_url=target.amqp_url.rpartition("@")[0] + f"@{host}:5672/",
        rabbitmq_pod="",
    )


def run_copies(start: Callable[[str], None], names: list[str]) -> None:
    """Run each in a process of its own, forked from what is loaded; SIGTERM and SIGKILL reach them all.

    One that fails ends them all: it would be missed by nobody.
    """
    children: list[int] = []

    def pass_on(number: int, _: object) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    for name in names:
        child = os.fork()
        if not child:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            start(name)
            return
        children.append(child)
    signal.signal(signal.SIGTERM, pass_on)
    failed = False
    for _ in names:
        _, status = os.wait()
        if status and not failed:
            failed = True
            pass_on(signal.SIGTERM, None)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
