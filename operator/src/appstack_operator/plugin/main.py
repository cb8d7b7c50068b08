"""kubectl appstack: `plan` tells what a change would do, `status` how a stack is and why. Reads only."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TextIO

import yaml

from appstack_operator import __version__
from appstack_operator.client import ApiError
from appstack_operator.plugin.commands import EXIT_CODES, ExitCode, plan_stacks, show_status
from appstack_operator.plugin.errors import UserError
from appstack_operator.plugin.text import Palette

PROGRAM = "kubectl appstack"
PLAN_HELP = "what a change would do, action by action, each classed no-op, in-place, rolling, failover or destructive"
STATUS_HELP = "a stack as a tree: conditions, components, pods and volume claims, with causes and runbooks"


@dataclass(frozen=True, slots=True)
class Streams:
    """Where a command reads and writes."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO


class Parser(argparse.ArgumentParser):
    """Wrong arguments are an error like any other: exit code 1 (argparse's 2 means changes here)."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and how the command goes."""
        raise UserError(f"{message}\n{self.format_usage().strip()}")


def main() -> None:
    """The command line."""
    try:
        code = run(sys.argv[1:], Streams(sys.stdin, sys.stdout, sys.stderr))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.ERROR
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def run(words: Sequence[str], streams: Streams) -> int:
    """Perform one command; its exit code."""
    try:
        arguments = build_parser().parse_args(words)
        return asyncio.run(perform(arguments, streams))
    except UserError as error:
        print(f"error: {error}", file=streams.stderr)
    except ApiError as error:
        print(f"error: {error.message}", file=streams.stderr)
    return ExitCode.ERROR


async def perform(arguments: argparse.Namespace, streams: Streams) -> int:
    """The chosen command and its output."""
    palette = Palette(wants_colours(arguments.color, streams.stdout))
    command = plan_stacks if arguments.command == "plan" else show_status
    answer = await command(arguments, streams.stdin, datetime.now(UTC))
    for note in answer.asides:
        print(note, file=streams.stderr)
    print_answer(answer.as_json, answer.lines(palette), arguments.output, streams.stdout)
    return answer.code


def print_answer(content: dict[str, Any], lines: Iterable[str], output: str, stdout: TextIO) -> None:
    """As JSON, YAML, or text."""
    if output == "json":
        print(json.dumps(content, indent=2, ensure_ascii=False), file=stdout)
    elif output == "yaml":
        yaml.safe_dump(content, stdout, sort_keys=False, allow_unicode=True, width=120)
    else:
        for line in lines:
            print(line, file=stdout)


def wants_colours(choice: str, stdout: TextIO) -> bool:
    """On a terminal, unless NO_COLOR says otherwise."""
    if choice == "auto":
        return stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


def build_parser() -> Parser:
    """All commands and options."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="plan|status", parser_class=Parser)
    texts = {"plan": PLAN_HELP, "status": STATUS_HELP}
    plan, status = (
        commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EXIT_CODES[name],
            parents=[build_shared_options()],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, text in texts.items()
    )
    add_plan_options(plan)
    status.add_argument("name", metavar="NAME", help="name of the AppStack")
    return parser


def add_plan_options(plan: argparse.ArgumentParser) -> None:
    """What is planned, and how it is going to be applied."""
    manifests = "manifest of AppStacks; - is standard input"
    plan.add_argument("-f", "--filename", action="append", required=True, metavar="FILE", help=manifests)
    plan.add_argument("--server-side", action="store_true", help="plan for kubectl apply --server-side")
    plan.add_argument("--field-manager", default="kubectl", metavar="NAME", help="with --server-side: who applies")
    plan.add_argument("--force-conflicts", action="store_true", help="with --server-side: take fields of others over")


def build_shared_options() -> Parser:
    """What every command takes."""
    shared = Parser(add_help=False)
    shared.add_argument("-n", "--namespace", metavar="NS", help="namespace (default: that of the context)")
    shared.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig (default: $KUBECONFIG, then ~/.kube/config)")
    where = "where the operator runs (default: look in all namespaces)"
    shared.add_argument("--operator-namespace", default="", metavar="NS", help=where)
    shared.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    shared.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
    shared.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: on a terminal")
    return shared


if __name__ == "__main__":
    main()
