"""The three kinds of cluster that `make up` knows: the lab, kind, and whatever the current kubeconfig names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import yaml

from appstack_lab.kubeconfigs import write_private
from appstack_lab.up import access
from appstack_lab.up.steps import StepFailed, say

if TYPE_CHECKING:
    from appstack_lab.up.steps import Steps

ROOT = Path(__file__).resolve().parents[4]
BUILD = ROOT / "build"
NODES = 3
LATEST = BUILD / "kubeconfig"
LAB = str(Path(sys.executable).parent / "lab")
KIND_CONFIG = ROOT / "lab" / "kind.yaml"
REGISTRY_VARIABLE = "APPSTACK_REGISTRY"
KIND_IMAGE_VARIABLE = "APPSTACK_KIND_IMAGE"  # the image of kind's nodes, where it is not kind's own choice
CREATE_LIMIT = "5m"
PUSH_VARIABLE = "APPSTACK_PUSH"  # "no": the images of this tree are in the registry already

Refs = dict[str, str]


class Cluster(Protocol):
    """What `make up` needs of a cluster."""

    @property
    def kubeconfig(self) -> Path:
        """The file that kubectl and helm use."""
        ...

    def ensure(self, steps: Steps) -> None:
        """Create the cluster, or find it there already."""

    def images(self, steps: Steps) -> Refs:
        """Build what is missing and make it pullable on every node; return name -> reference."""

    def delete(self, steps: Steps) -> None:
        """Remove the cluster and all that was made for it."""

    def find(self) -> None:
        """See that the cluster is there and its kubeconfig up to date. Raises StepFailed."""


@dataclass(frozen=True)
class LabCluster:
    """Processes and network namespaces on this machine."""

    name: str
    kubeconfig: Path
    nodes: int = NODES
    namespace: str = ""

    def ensure(self, steps: Steps) -> None:
        require_root()
        steps.run(LAB, "build", "binaries", show=True)
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        shape = ("--name", self.name, "--nodes", str(self.nodes))
        steps.run(LAB, "create", "cluster", *shape, "--kubeconfig", str(self.kubeconfig), show=True)
        keep_access(self.kubeconfig, self.kubeconfig.read_text(), self.namespace)

    def images(self, steps: Steps) -> Refs:
        refs = built(steps)
        steps.run(LAB, "load", "docker-image", "--name", self.name, *refs.values(), show=True)
        return refs

    def delete(self, steps: Steps) -> None:
        require_root()
        steps.run(LAB, "delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig), show=True)
        forget(self.kubeconfig)

    def find(self) -> None:
        require(self.name, output_of(LAB, "get", "clusters").split())
        keep_access(self.kubeconfig, output_of(LAB, "get", "kubeconfig", "--name", self.name), self.namespace)


@dataclass(frozen=True)
class KindCluster:
    """Nodes as Docker containers, made by kind."""

    name: str
    kubeconfig: Path
    namespace: str = ""

    def ensure(self, steps: Steps) -> None:
        steps.run("docker", "version")
        client_tools(steps)
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        exists = self.name in steps.run("kind", "get", "clusters").split()
        if exists and self.unfinished.exists():
            say(f"      the creation of '{self.name}' was interrupted; it begins anew")
            self.delete(steps)
            exists = False
        if not exists:
            self.unfinished.touch()
            steps.run("kind", "create", "cluster", *self.create_words(), show=True)
            self.unfinished.unlink()
        steps.run("kind", "export", "kubeconfig", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
        keep_access(self.kubeconfig, self.kubeconfig.read_text(), self.namespace)

    @property
    def unfinished(self) -> Path:
        """Lies there while the cluster is being made: kind leaves half a one behind where it is killed."""
        return self.kubeconfig.parent / f"kind-{self.name}.unfinished"

    def create_words(self) -> list[str]:
        """How kind is asked for the cluster."""
        words = ["--name", self.name, "--config", str(KIND_CONFIG), "--kubeconfig", str(self.kubeconfig)]
        image = os.environ.get(KIND_IMAGE_VARIABLE)
        return [*words, "--wait", CREATE_LIMIT, *(["--image", image] if image else [])]

    def images(self, steps: Steps) -> Refs:
        refs = built(steps, "--builder", "docker")
        steps.run("kind", "load", "docker-image", "--name", self.name, *refs.values(), show=True)
        return refs

    def delete(self, steps: Steps) -> None:
        names = steps.run("kind", "get", "clusters").split()
        try:
            require(self.name, names)
        except StepFailed as absent:
            say(f"      {absent}")
        steps.run("kind", "delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig), show=True)
        self.unfinished.unlink(missing_ok=True)
        forget(self.kubeconfig)

    def find(self) -> None:
        require(self.name, output_of("kind", "get", "clusters").split())
        keep_access(self.kubeconfig, output_of("kind", "get", "kubeconfig", "--name", self.name), self.namespace)


@dataclass(frozen=True)
class CurrentCluster:
    """Any cluster: images come from a registry that its nodes can pull from."""

    # One path or a list of them with : between, as kubectl takes it.
    kubeconfig: Path = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")

    def find(self) -> None:
        access.find(self.kubeconfig)

    def ensure(self, steps: Steps) -> None:
        self.find()
        client_tools(steps)
        access.reach(steps, self.kubeconfig)

    def images(self, steps: Steps) -> Refs:
        require_registry(steps)
        refs = built(steps, "--builder", "docker") if must_push() else image_refs()
        pulled = {name: f"{registry()}/{ref.split('/', 1)[1]}" for name, ref in refs.items()}
        for name, ref in refs.items() if must_push() else ():
            say(f"      push {pulled[name]} …")
            steps.run("docker", "tag", ref, pulled[name])
            steps.run("docker", "push", "--quiet", pulled[name], show=True)
        return pulled

    def delete(self, steps: Steps) -> None:
        """The cluster is not ours to delete; `make down` removes the operator and the stack from it."""


def registry() -> str:
    """Where the images of this tree go for nodes that can only pull. Raises StepFailed."""
    named = os.environ.get(REGISTRY_VARIABLE, "").rstrip("/")
    if not named:
        raise StepFailed(
            f"Nodes of this cluster must pull the images from a registry. Set {REGISTRY_VARIABLE} to one that you "
            f"can push to and they can pull from, for example: {REGISTRY_VARIABLE}=registry.example.com/appstack"
        )
    return named


def require_kind(steps: Steps) -> None:
    """See that Docker runs and kind is there. Raises StepFailed."""
    steps.run("docker", "version")
    steps.run("kind", "version")


def must_push() -> bool:
    """Whether this tree's images go to the registry from here: not where they are there already."""
    return os.environ.get(PUSH_VARIABLE) != "no"


def require_registry(steps: Steps) -> None:
    """See that images can get to the registry, as far as that shows before they are built. Raises StepFailed."""
    registry()
    if must_push():
        steps.run("docker", "version")


def require_root() -> None:
    """Say before anything is installed or built that a lab cluster takes root. Raises StepFailed."""
    if os.geteuid() != 0:
        raise StepFailed(
            "The lab needs root: it makes namespaces, mounts and control groups. "
            "Become root, or use Docker and kind: CLUSTER=kind"
        )


def client_tools(steps: Steps) -> None:
    """kubectl and helm, built where this machine has none; later commands find them."""
    missing = [tool for tool in ("kubectl", "helm") if shutil.which(tool, path=steps.env["PATH"]) is None]
    if missing:
        steps.run(LAB, "build", "binaries", *missing, show=True)
        steps.env = {**steps.env, "PATH": tools_path()}


def built(steps: Steps, *options: str) -> Refs:
    """Build what is missing of this tree's images; their references by name."""
    refs: Refs = json.loads(steps.run(LAB, "build", "images", "-o", "json", *options, show=True))
    return refs


def image_refs() -> Refs:
    """The references of this tree's images, by name, without building anything."""
    listed = subprocess.run(
        [LAB, "images", "-o", "json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise StepFailed(listed.stderr.strip())
    return {str(name): str(ref) for name, ref in json.loads(listed.stdout).items()}


def tools_path() -> str:
    """PATH for commands: the project's, then kubectl and helm as built by the lab, then the user's."""
    found = subprocess.run([LAB, "bin"], capture_output=True, text=True, check=False).stdout.strip()
    return ":".join(filter(None, [str(Path(sys.executable).parent), found, os.environ["PATH"]]))


def output_of(*command: str) -> str:
    """What a command prints, without any step around it. Raises StepFailed with what it complains about."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StepFailed(f"'{command[0]}' is not on PATH.") from None
    if done.returncode:
        raise StepFailed(done.stderr.strip())
    return done.stdout


def require(name: str, running: list[str]) -> None:
    """Raise StepFailed when no cluster has that name, with the names there are."""
    if name not in running:
        raise StepFailed(f"There is no cluster '{name}'; running: {', '.join(running) or 'none'}.")


def keep_access(path: Path, text: str, namespace: str) -> None:
    """Write the access to a cluster; in a file of this tree's own, its contexts begin in the stack's namespace."""
    config = yaml.safe_load(text)
    if namespace and path.is_relative_to(BUILD / "clusters") and isinstance(config, dict):
        for entry in config["contexts"]:
            entry["context"]["namespace"] = namespace
        text = yaml.safe_dump(config, sort_keys=False)
    if not path.exists() or path.read_text() != text:
        write_private(path, text)


def kubeconfig_of(name: str) -> Path:
    """Where `make up` keeps the access to a cluster: a file each, so that no command takes one for another."""
    return BUILD / "clusters" / name / "kubeconfig"


def make_latest(kubeconfig: Path) -> None:
    """Let build/kubeconfig lead to the cluster that was brought up last: a handy name for people."""
    if not kubeconfig.is_relative_to(BUILD / "clusters"):
        return
    link = BUILD / f".kubeconfig.{os.getpid()}"
    link.symlink_to(kubeconfig.relative_to(BUILD))
    link.replace(LATEST)


def forget(kubeconfig: Path) -> None:
    """Remove what this tree knows of a cluster that is gone; a kubeconfig of somebody else's choice stays."""
    if not kubeconfig.is_relative_to(BUILD / "clusters"):
        return
    shutil.rmtree(kubeconfig.parent, ignore_errors=True)
    if LATEST.is_symlink() and not LATEST.exists():
        LATEST.unlink()


def select(kind: str, name: str, kubeconfig: Path | None = None, nodes: int = NODES, namespace: str = "") -> Cluster:
    """The cluster that CLUSTER= and KIND_NAME= name."""
    file = kubeconfig or kubeconfig_of(name)
    match kind:
        case "lab":
            return LabCluster(name, file, nodes, namespace)
        case "kind":
            return KindCluster(name, file, namespace)
        case _:
            return CurrentCluster()
