"""The command line: kind's words where tests need them, and what a cluster of our own can do besides."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from appstack_lab import binaries, builders, create, faults, kubeconfigs, load, paths, prune, state, status, teardown
from appstack_lab.arguments import CommandInNode, seconds, size
from appstack_lab.cluster import (
    DEFAULT_NAME,
    NAME_VARIABLE,
    build_nodes,
    checked_name,
    nodes_of_kind_config,
)
from appstack_lab.controlplane import admin_kubeconfig
from appstack_lab.failures import LabError, of_the_disk
from appstack_lab.gomodules import GROUPS
from appstack_lab.images import CONTEXTS, Image, images_of
from appstack_lab.layers import stored
from appstack_lab.locks import discard, locked
from appstack_lab.progress import say, step

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_NODES = 3
WAIT_SECONDS = 180.0


def create_cluster(args: argparse.Namespace) -> None:
    nodes = build_nodes(args.nodes)
    if args.config:
        nodes = nodes_of_kind_config(read_kind_config(Path(args.config)))
    wait_seconds = args.wait or WAIT_SECONDS
    path = kubeconfigs.target(args.kubeconfig)
    kubeconfigs.read(path)  # one that cannot take the access is refused before anything is made
    kubeconfigs.require_place(path)
    prune.note_tree()
    cluster = create.create_cluster(args.name, nodes, args.volume_size, wait_seconds)
    kubeconfigs.export(admin_kubeconfig(cluster), path)
    say(f"Access is in {path} (context kind-{cluster.name}).")


def read_kind_config(path: Path) -> object:
    """Read a kind document; what is no YAML is refused."""
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise LabError(f"the configuration {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabError(f"the configuration {path} is not YAML: {error}") from None


def delete_cluster(args: argparse.Namespace) -> None:
    lock, kubeconfig = paths.lock_of(args.name), kubeconfigs.target(args.kubeconfig)
    kubeconfigs.read(kubeconfig)  # one that cannot be changed is refused before anything is removed
    with locked(lock):
        cluster = state.find_cluster(args.name, of_any_version=True)
        if cluster:
            with step(f"delete cluster {args.name}"):
                teardown.remove_cluster(cluster)
        else:
            say(state.absence(args.name))
        lock.unlink(missing_ok=True)
    kubeconfigs.forget(args.name, kubeconfig)
    discard_locks(args.name)


def discard_locks(name: str) -> None:
    """Remove the other locks of a cluster that is gone, and with the last cluster those of all."""
    discard(paths.lock_of(f"{name}.load"))
    if not state.known_clusters(of_any_version=True):
        for shared in ("index", "kubeconfig"):
            discard(paths.shared_lock(shared))
        with contextlib.suppress(OSError):  # somebody creates a cluster just now, or nobody ever did
            paths.LOCKS.rmdir()


def get_clusters(_: argparse.Namespace) -> None:
    clusters = state.known_clusters()
    if not clusters:
        say("No lab clusters found.")
    for cluster in clusters:
        if create.is_supervised(cluster):
            print(cluster.name)
        else:  # tests ask here whether they must create it
            say(create.standstill(cluster.name))


def get_kubeconfig(args: argparse.Namespace) -> None:
    cluster = state.require_cluster(args.name)
    try:
        print(admin_kubeconfig(cluster).read_text(), end="")
    except FileNotFoundError:  # its creation was interrupted before it had one
        raise LabError(create.standstill(cluster.name)) from None


def load_docker_image(args: argparse.Namespace) -> None:
    cluster = create.require_running(args.name)
    what = args.refs[0] if len(args.refs) == 1 else f"{len(args.refs)} images"
    with step(f"load {what}"), locked(paths.lock_of(f"{args.name}.load")):
        down = faults.crashed_nodes(cluster)
        running = [node for node in cluster.nodes if node.name not in down]
        if not running:
            raise LabError(f"every node of {cluster.name} is down: lab node restart NODE --name {cluster.name}")
        load.load_images(cluster, args.refs, running)


def build_binaries(args: argparse.Namespace) -> None:
    prune.note_tree()
    binaries.build_binaries(args.names)


def build_images(args: argparse.Namespace) -> None:
    images = images_of(args.names)  # once: the sources may change while we build
    prune.note_tree()
    is_news = args.builder == "buildah" and not all(stored(image.ref) for image in images)
    builders.build_images(images, args.builder)
    if is_news:  # each change of the sources leaves an image behind
        prune.prune()
    tell_images(images, args)


def print_images(args: argparse.Namespace) -> None:
    tell_images(images_of(args.names), args)


def tell_images(images: list[Image], args: argparse.Namespace) -> None:
    if args.output == "json":
        print(json.dumps({image.name: image.ref for image in images}, indent=1))
        return
    for image in images:
        there = stored(image.ref) if args.output == "wide" else None
        size = f" {there.size / 1e6:.0f} MB" if there else ""
        print(f"{image.name} {image.ref}{size}")


def print_rootfs(args: argparse.Namespace) -> None:
    print(builders.root_filesystem(args.image))


def prune_cache(_: argparse.Namespace) -> None:
    for name in prune.prune():
        print(f"removed {name}")


def print_bin(_: argparse.Namespace) -> None:
    print(binaries.bin_directory())


def print_status(args: argparse.Namespace) -> None:
    described = status.describe(state.require_cluster(args.name))
    print(json.dumps(described, indent=1) if args.output == "json" else status.render(described))
    if not status.is_well(described):
        sys.exit(1)


def print_logs(args: argparse.Namespace) -> None:
    cluster = state.require_cluster(args.name)
    known = sorted(path.stem for path in cluster.logs.glob("*.log"))
    if not known:
        raise LabError(f"there is no log yet: {create.standstill(cluster.name)}")
    if not args.component:
        print("\n".join(known))
        return
    log = cluster.logs / f"{args.component}.log"
    if args.component not in known:
        raise LabError(f"there is no log of {args.component}; there are {', '.join(known)}")
    with log.open(errors="replace") as handle:
        while True:
            text = handle.read()
            print(text, end="", flush=True)
            if not args.follow:
                return
            time.sleep(0.0 if text else 0.5)


def break_node(args: argparse.Namespace) -> None:
    cluster = create.require_running(args.name)
    node = cluster.node(args.node)
    match args.fault:
        case "partition":
            faults.partition(cluster, node, args.one_way or "both")
        case "heal":
            faults.heal(cluster, node)
        case "crash":
            faults.crash(cluster, node)
        case "restart":
            faults.restart(cluster, node)
        case "shell":
            sys.exit(faults.shell(cluster, node, args.command))


def add_name(parser: argparse.ArgumentParser) -> None:
    usual = os.environ.get(NAME_VARIABLE) or DEFAULT_NAME
    parser.add_argument("--name", default=usual, help=f"the cluster (default: ${NAME_VARIABLE}, here %(default)s)")


def add_output(parser: argparse.ArgumentParser, *forms: str) -> None:
    parser.add_argument("-o", "--output", choices=forms, default=forms[0], help="what to print (default: %(default)s)")


def add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONTEXTS)} (default: all)")


def add_cluster_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add create, delete, get and load, in kind's words."""
    making = commands.add_parser("create", help="create a cluster").add_subparsers(required=True)
    parser = making.add_parser("cluster", help="create a cluster, or find it running")
    add_name(parser)
    parser.add_argument(
        "--kubeconfig", help="file to merge the access into (default: $KUBECONFIG, else ~/.kube/config)"
    )
    parser.add_argument("--config", help="a kind Cluster document: its nodes count")
    parser.add_argument("--image", help="accepted as kind does; the version is the lab's own")
    parser.add_argument(
        "--wait", type=seconds, help=f"longest wait for each stage, such as 60s or 5m (default: {WAIT_SECONDS:.0f}s)"
    )
    parser.add_argument("--retain", action="store_true", help="accepted as kind does; logs always stay")
    parser.add_argument("--nodes", type=int, default=DEFAULT_NODES, help="how many nodes (default: 3)")
    parser.add_argument(
        "--volume-size", type=size, help="limit of each node's volumes, such as 2Gi; of a new cluster: none"
    )
    parser.set_defaults(run=create_cluster)

    deleting = commands.add_parser("delete", help="delete a cluster, with all its data").add_subparsers(required=True)
    parser = deleting.add_parser("cluster", help="delete a cluster; quick and harmless where there is none")
    add_name(parser)
    parser.add_argument("--kubeconfig", help="file to take the access out of (default: as for create)")
    parser.set_defaults(run=delete_cluster)

    getting = commands.add_parser("get", help="list clusters, or print the access to one").add_subparsers(required=True)
    getting.add_parser("clusters", help="list the clusters that run").set_defaults(run=get_clusters)
    parser = getting.add_parser("kubeconfig", help="print a cluster's kubeconfig")
    add_name(parser)
    parser.set_defaults(run=get_kubeconfig)

    loading = commands.add_parser("load", help="bring images into a cluster").add_subparsers(required=True)
    parser = loading.add_parser("docker-image", help="load built images into every node that runs")
    parser.add_argument("refs", nargs="+", metavar="REF", help="as `lab images` prints it")
    add_name(parser)
    parser.set_defaults(run=load_docker_image)


def add_build_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what makes and shows programs and images."""
    building = commands.add_parser("build", help="build programs or images").add_subparsers(required=True)
    parser = building.add_parser("binaries", help="build what is missing of the programs")
    programs = ", ".join(program for group in GROUPS for program in group.programs)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {programs} (default: what clusters need)")
    parser.set_defaults(run=build_binaries)

    parser = building.add_parser("images", help="build what is missing of the images")
    add_images(parser)
    parser.add_argument(
        "--builder",
        choices=["buildah", "docker"],
        default="buildah",
        help="buildah: for clusters of the lab; docker: into Docker",
    )
    add_output(parser, "text", "json", "wide")
    parser.set_defaults(run=build_images)

    parser = commands.add_parser("images", help="print the images' references without building")
    add_images(parser)
    add_output(parser, "text", "json", "wide")
    parser.set_defaults(run=print_images)

    parser = commands.add_parser("rootfs", help="print the directory of an image's root filesystem")
    parser.add_argument("image", metavar="NAME", help=f"of {', '.join(CONTEXTS)}")
    parser.set_defaults(run=print_rootfs)

    parser = commands.add_parser("prune", help="remove from the cache what the sources no longer lead to")
    parser.set_defaults(run=prune_cache)
    commands.add_parser("bin", help="print the directory of the programs").set_defaults(run=print_bin)


def add_care_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what looks into a cluster and what breaks it."""
    parser = commands.add_parser("status", help="how the cluster is; exit code 1 if not well")
    add_name(parser)
    add_output(parser, "text", "json")
    parser.set_defaults(run=print_status)

    parser = commands.add_parser("logs", help="print a component's log")
    parser.add_argument("component", nargs="?", help="without one: list them")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is logged from now on")
    add_name(parser)
    parser.set_defaults(run=print_logs)

    breaking = commands.add_parser("node", help="break a node and mend it").add_subparsers(dest="fault", required=True)
    for fault, help_ in (
        ("partition", "cut a node off"),
        ("heal", "plug it in again"),
        ("crash", "take it down with all containers"),
        ("restart", "start it again"),
        ("shell", "run a command, or bash, in it"),
    ):
        parser = breaking.add_parser(fault, help=help_)
        parser.add_argument("node", help="its name, such as node1")
        add_name(parser)
        if fault == "partition":
            parser.add_argument("--one-way", choices=["in", "out"], help="only to the node, or only from it")
        if fault == "shell":
            parser.add_argument(
                "command", nargs=argparse.REMAINDER, action=CommandInNode, help="with its own options (default: bash)"
            )
        parser.set_defaults(run=break_node)


NEED_ROOT = (create_cluster, delete_cluster, load_docker_image, break_node, build_images, print_rootfs)


def needs_root(args: argparse.Namespace) -> bool:
    """Tell whether a command makes namespaces, mounts or control groups; what Docker builds, its daemon makes."""
    return args.run in NEED_ROOT and getattr(args, "builder", "") != "docker"


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    add_cluster_commands(commands)
    add_build_commands(commands)
    add_care_commands(commands)
    return parser


def what_to_do_about(error: OSError) -> str:
    """The sentence for a person; raises the error again where it is a mistake of ours."""
    try:
        return of_the_disk(error)
    except PermissionError:
        return f"this needs root, and a kernel that allows it: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a failure a person can act on is one message, not a traceback."""
    args = build_parser().parse_args(arguments)
    os.umask(0o022)
    try:
        if needs_root(args) and os.geteuid() != 0:
            raise LabError("this needs root: namespaces, mounts and control groups are made")
        if hasattr(args, "name"):
            checked_name(args.name)
        args.run(args)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"lab: {what_to_do_about(error)}", file=sys.stderr)
        return 1
    return 0
