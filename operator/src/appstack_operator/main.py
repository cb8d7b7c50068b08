"""The command line: run the operator, print its CRD, render what it would make of a manifest."""

import argparse
import sys
from pathlib import Path

import yaml

from appstack_operator import __version__
from appstack_operator.api import AppStack
from appstack_operator.api.crd import Dumper, render_crd
from appstack_operator.api.reference import render_reference
from appstack_operator.desired.context import Context, Images
from appstack_operator.desired.stack import build_stack
from appstack_operator.placeholders import AnyAddress, placeholder_credentials


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="appstack-operator", description=__doc__)
    parser.add_argument("--version", action="version", version=f"appstack-operator {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch AppStacks and keep them converged (in a cluster, or with KUBECONFIG)")
    commands.add_parser("crd", help="print the CustomResourceDefinition")
    commands.add_parser("reference", help="print the reference of the AppStack API")
    commands.add_parser("version", help="print the version")
    render = commands.add_parser("render", help="print the objects that an AppStack becomes, without a cluster")
    render.add_argument("-f", "--file", type=Path, required=True, help="manifest of the AppStack")
    arguments = parser.parse_args()
    COMMANDS[arguments.command](arguments)


def run(arguments: argparse.Namespace) -> None:
    """Run the operator."""
    from appstack_operator import logs, process
    from appstack_operator.settings import Settings

    settings = Settings()  # type: ignore[call-arg]  # from the environment
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
    for document in yaml.safe_load_all(arguments.file.read_text()):
        stack = AppStack.model_validate(document)
        manifests = [item.manifest for item in build_stack(stack, placeholder_context(stack))]
        yaml.dump_all(manifests, sys.stdout, Dumper=Dumper, sort_keys=False)


def placeholder_context(stack: AppStack) -> Context:
    """A context without a cluster."""
    images = Images(*(f"appstack.dev/{name}" for name in ("backend", "postgres", "redis", "rabbitmq")))
    return Context(images, placeholder_credentials(), AnyAddress())


COMMANDS = {"run": run, "crd": crd, "reference": reference, "version": show_version, "render": render}

if __name__ == "__main__":
    main()
