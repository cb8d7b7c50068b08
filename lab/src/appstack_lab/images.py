"""Which images there are and what they are called: a reference follows from the content of its sources."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.binaries import key_of
from appstack_lab.contexts import hash_of, read_version
from appstack_lab.failures import LabError
from appstack_lab.gomodules import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PREFIX = "appstack.dev"
BASE = "docker.io/library/debian:trixie-slim"
CONTEXTS = {
    "operator": paths.SOURCES / "operator",
    "backend": paths.SOURCES / "backend",
    "postgres": paths.SOURCES / "images" / "postgres",
    "redis": paths.SOURCES / "images" / "redis",
    "rabbitmq": paths.SOURCES / "images" / "rabbitmq",
}
# Images of one program of ours, for the cluster itself.
PROGRAMS = {"pause": "65535", "coredns": "65532"}  # program -> user


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the lab can build."""

    name: str
    ref: str


def version_of(context: Path) -> str:
    """Return the version an image's sources declare: its package's, else its Dockerfile's label."""
    project = context / "pyproject.toml"
    if project.exists():
        return str(tomllib.loads(project.read_text())["project"]["version"])
    version = read_version((context / "Dockerfile").read_text())
    if not version:
        raise LabError(f"{context}/Dockerfile has no label org.opencontainers.image.version")
    return version


def image_of(name: str) -> Image:
    """Compute the reference of an image without building it."""
    if name in PROGRAMS:
        group = next(group for group in GROUPS if name in group.programs)
        return Image(name, f"{PREFIX}/{name}:{group.version or 'v1'}-{key_of(group)}")
    context = CONTEXTS.get(name)
    if context is None:
        raise LabError(f"there is no image {name}; there are {', '.join(CONTEXTS)}")
    if not (context / "Dockerfile").exists():
        raise LabError(f"{context} has no Dockerfile")
    return Image(name, f"{PREFIX}/{name}:{version_of(context)}-{hash_of(context)}")


def images_of(names: Iterable[str]) -> list[Image]:
    """Return the named images; without names all that this source tree has."""
    present = [name for name, context in CONTEXTS.items() if (context / "Dockerfile").exists()]
    return [image_of(name) for name in list(names) or present]


def file_name(ref: str) -> str:
    """Turn a reference into a name for files."""
    return ref.replace("/", "_").replace(":", "_")
