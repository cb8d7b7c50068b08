"""One client: `python -m tests.chaos.clients NAME --target FILE --history FILE [--host ADDRESS]`."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import replace
from pathlib import Path

from tests.chaos.clients.record import Recorder
from tests.chaos.clients.target import Target

# The first word of a name is the service, the second one the kind; a suffix after a dot tells copies apart.
# Modules are loaded by name: a client of one service needs not pay for the libraries of the others.
CLIENTS = {
    "sql-held": "sql.write_held",
    "sql-reconnecting": "sql.write_reconnecting",
    "sql-isolated": "sql.write_held",
    "sql-reader": "sql.read",
    "redis-held": "redis.write_held",
    "redis-reconnecting": "redis.write_reconnecting",
    "redis-isolated": "redis.write_isolated",
    "redis-reader": "redis.read",
    "rabbitmq-held": "rabbitmq.publish_held",
    "rabbitmq-reconnecting": "rabbitmq.publish_reconnecting",
    "rabbitmq-isolated": "rabbitmq.publish_held",
    "rabbitmq-reader": "rabbitmq.read",
    "api-writer": "api.write",
    "api-held": "api.read_held",
    "api-reconnecting": "api.read_reconnecting",
    "api-import": "api.send_feeds",
}


def main() -> None:
    """Run one client until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help=f"{', '.join(CLIENTS)}; NAME.2 is another one of the same kind")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--host", default="", help="straight to this server, whoever leads")
    args = parser.parse_args()
    target = Target.load(args.target)
    if args.host:
        amqp = target.amqp_url.rpartition("@")[0] + f"@{args.host}:5672/"
        target = replace(
            target,
            postgres=replace(target.postgres, host=args.host),
            redis=replace(target.redis, host=args.host),
            amqp_url=amqp,
        )
    module, _, function = CLIENTS[args.name.partition(".")[0]].partition(".")
    run = getattr(importlib.import_module(f"tests.chaos.clients.{module}"), function)
    run(Recorder(args.name, args.history), target)


if __name__ == "__main__":
    main()
