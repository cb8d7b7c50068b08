"""The command line: one image, many roles."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import uvloop
from pydantic import ValidationError

from appstack_backend import broker, dead_letters, errors, schema, tracing
from appstack_backend.http.run import run_api
from appstack_backend.jobs.run import JOBS, run_job
from appstack_backend.logs import configure_logging, get_logger
from appstack_backend.metrics import serve_metrics
from appstack_backend.settings import Settings, load_settings
from appstack_backend.worker.run import run_worker


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="appstack-backend", description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("api", help="serve the HTTP API")
    worker = roles.add_parser("worker", help="work on messages")
    worker.add_argument("--queues", required=True, help="names, separated by commas")
    roles.add_parser("migrate", help="bring the database's schema up to date")
    roles.add_parser("job", help="run a scheduled job once").add_argument("name", choices=sorted(JOBS))
    letters = roles.add_parser("dead-letters", help="look at hopeless messages, send them back, or drop them")
    letters.add_argument("action", choices=("list", "show", "resend", "drop"))
    letters.add_argument("queue", choices=broker.QUEUES, help="the queue whose dead letters are meant")
    letters.add_argument("message_id", nargs="*", help="only these; resend and drop need ids or --all")
    letters.add_argument("--all", action="store_true", help="all there are")
    roles.add_parser("errors", help="print docs/errors.md")
    return parser


def run(settings: Settings, args: argparse.Namespace) -> None:
    """Run one role to its end."""
    if args.role == "migrate":
        applied = schema.migrate(settings.database_url, schema.load_migrations())
        get_logger().info("the schema is up to date", applied=applied)
    elif args.role == "dead-letters":
        told = dead_letters.run(settings.rabbitmq_url, args.action, args.queue, set(args.message_id))
        sys.stdout.write(asyncio.run(told))
    elif args.role == "job":
        asyncio.run(run_job(settings, args.name))
    elif args.role == "worker":
        asyncio.run(run_worker(settings, [queue.strip() for queue in args.queues.split(",") if queue.strip()]))
    else:
        uvloop.run(run_api(settings))  # requests are many and short: what the loop itself costs counts


def main(argv: Sequence[str] | None = None) -> int:
    """The process's exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.role == "dead-letters" and args.action in ("resend", "drop") and bool(args.message_id) == args.all:
        parser.error(f"{args.action} needs the ids of messages, or --all")
    if args.role == "errors":
        sys.stdout.write(errors.catalogue_page())
        return 0
    try:
        settings = load_settings()
    except ValidationError as error:
        names = ", ".join(".".join(map(str, item["loc"])).upper() + ": " + item["msg"] for item in error.errors())
        sys.stderr.write(f"appstack-backend: the environment is incomplete: {names}\n")
        return 2
    configure_logging(settings.log_level, settings.appstack_component or args.role, settings.pod_name)
    if args.role != "dead-letters":
        serve_metrics(settings.metrics_host, settings.metrics_port)
    tracing.export(settings.appstack_component or args.role, settings.otel_exporter_otlp_endpoint)
    code = 0
    try:
        run(settings, args)
    except Exception:
        get_logger().exception("the process failed", role=args.role)
        code = 1
    tracing.flush()
    if args.role == "api":
        # Granian's threads outlive the loop, and abort the process if the interpreter is
        # taken down under them (emmett-framework/granian#881). All is closed: just leave.
        sys.stdout.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
