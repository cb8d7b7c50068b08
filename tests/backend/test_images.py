"""Every image is small, runs as a numeric user, and says what is in it."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from appstack_lab import builders, images, layers
from tests.backend.kit.rootfs import rootfs

MOST_BYTES = 350 << 20
# Image -> (user, package that the labels speak of, the label with its series)
IMAGES = {
    "operator": (10001, "python3", "dev.appstack.python"),
    "backend": (10001, "python3", "dev.appstack.python"),
    "postgres": (5432, "postgresql-17", "org.opencontainers.image.version"),
    "redis": (6379, "redis-server", "org.opencontainers.image.version"),
    "rabbitmq": (5672, "rabbitmq-server", "org.opencontainers.image.version"),
}
every_image = pytest.mark.parametrize("name", IMAGES)


@dataclass(frozen=True, slots=True)
class Built:
    """What a registry would tell about an image."""

    bytes: int
    user: str
    labels: dict[str, str]


@cache
def built(name: str) -> Built:
    """The image of this tree; built if it is missing."""
    image = images.image_of(name)
    builders.build_images([image])
    with tarfile.open(layers.archive_of(image.ref)) as archive:
        (entry,) = read_json(archive, "index.json")["manifests"]
        manifest = read_json(archive, blob(entry["digest"]))
        config = read_json(archive, blob(manifest["config"]["digest"]))["config"]
    return Built(sum(layer["size"] for layer in manifest["layers"]), config["User"], config["Labels"])


def blob(digest: str) -> str:
    """Where an image archive keeps a part."""
    return f"blobs/{digest.replace(':', '/')}"


def read_json(archive: tarfile.TarFile, path: str) -> Any:
    """A JSON file of an archive."""
    file = archive.extractfile(path)
    assert file is not None
    return json.load(file)


@every_image
def test_an_image_is_small(name: str) -> None:
    assert built(name).bytes < MOST_BYTES


@every_image
def test_an_image_runs_as_a_numeric_user(name: str) -> None:
    user = IMAGES[name][0]
    assert built(name).user == f"{user}:{user}"


@every_image
def test_the_labels_say_what_is_installed(name: str) -> None:
    _, package, label = IMAGES[name]
    labels = built(name).labels
    assert labels["org.opencontainers.image.title"] == f"appstack-{name}"
    lines = (rootfs(name) / "usr/share/appstack/version").read_text().splitlines()
    installed = dict(line.split("\t") for line in lines)[package].rpartition(":")[2]
    assert installed.startswith(f"{labels[label]}.")


@every_image
def test_the_tag_is_the_version_of_the_label(name: str) -> None:
    tag = images.image_of(name).ref.rpartition(":")[2]
    assert tag.startswith(f"{built(name).labels['org.opencontainers.image.version']}-")
