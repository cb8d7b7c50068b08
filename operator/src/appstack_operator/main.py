"""The command line: run the operator, print its CRD, render what it would make of a manifest."""

import argparse
import sys
from collections.abc import Sequence

import yaml
from pydantic import ValidationError

from appstack_operator import __version__
from appstack_operator.api import AppStack
from appstack_operator.api.crd import Dumper, render_crd
from appstack_operator.api.reference import render_reference
from appstack_operator.desired.context import Context, Images
from appstack_operator.desired.stack import build_stack
from appstack_operator.placeholders import AnyAddress, placeholder_credentials
from appstack_operator.plugin.commands import validated
from appstack_operator.plugin.errors import UserError
from appstack_operator.plugin.manifests import read_stacks


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do what it says; exit code 2 where the caller has to change something."""
    parser = argparse.ArgumentParser(prog="appstack-operator", description=__doc__)
    parser.add_argument("--version", action="version", version=f"appstack-operator {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch AppStacks and keep them converged (in a cluster, or with KUBECONFIG)")
    commands.add_parser("crd", help="print the CustomResourceDefinition")
    commands.add_parser("reference", help="print the reference of the AppStack API")
    commands.add_parser("version", help="print the version")
    render = commands.add_parser("render", help="print the objects that an AppStack becomes, without a cluster")
    render.add_argument("-f", "--file", required=True, help="manifest of the AppStack; - is standard input")
    arguments = parser.parse_args(argv)
    try:
        COMMANDS[arguments.command](arguments)
    except UserError as error:
        print(f"appstack-operator: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(arguments: argparse.Namespace) -> None:
    """Run the operator."""
    from appstack_operator import logs, process
    from appstack_operator.settings import Settings

    try:
        settings = Settings()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        names = (f"APPSTACK_{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors())
        raise UserError(f"the environment is incomplete: {', '.join(names)}") from error
    logs.configure(settings.log_level)
    process.run(settings)


def crd(arguments: argparse.Namespace) -> None:
    """Print the CRD."""
    sys.stdout.write(render_crd())


def reference(arguments: argparse.Namespace) -> None:
    """Print the reference."""
    sys.stdout.write(render_reference())


def show_version(arguments: argparse.Namespace) -> None:
    """Print the version."""
    print(__version__)


def render(arguments: argparse.Namespace) -> None:
    """Print the children of each AppStack in a file; passwords and addresses are placeholders."""
    stacks, others = read_stacks([arguments.file], sys.stdin)
    if others:
        print(f"not looked at: {', '.join(others)}", file=sys.stderr)
    for stack in map(validated, stacks):
        manifests = [item.manifest for item in build_stack(stack, placeholder_context(stack))]
        yaml.dump_all(manifests, sys.stdout, Dumper=Dumper, sort_keys=False)


def placeholder_context(stack: AppStack) -> Context:
    """A context without a cluster."""
    images = Images(*(f"appstack.dev/{name}" for name in ("backend", "postgres", "redis", "rabbitmq")))
    return Context(images, placeholder_credentials(), AnyAddress())


COMMANDS = {"run": run, "crd": crd, "reference": reference, "version": show_version, "render": render}

if __name__ == "__main__":
    main()
