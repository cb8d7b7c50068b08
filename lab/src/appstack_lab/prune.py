"""Clears the cache of what the present sources no longer lead to: old programs, images, layers."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.binaries import bin_directory, directory_of
from appstack_lab.builders import buildah
from appstack_lab.commands import succeeds
from appstack_lab.gomodules import GROUPS
from appstack_lab.images import BASE, PROGRAMS, file_name, image_of, images_of
from appstack_lab.layers import layer_directory, store_directory
from appstack_lab.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def stored_images() -> dict[str, list[str]]:
    """Return every image of the cache and the layers it stands on."""
    descriptions = [json.loads(path.read_text()) for path in (paths.cache() / "images").glob("*/image.json")]
    return {each["ref"]: each["diffs"] for each in descriptions}


def remove_image(ref: str) -> None:
    """Remove one image from the cache; its layers go when no other image needs them."""
    layers = stored_images().get(ref, [])
    shutil.rmtree(store_directory(ref), ignore_errors=True)
    shutil.rmtree(paths.cache() / "rootfs" / file_name(ref), ignore_errors=True)
    succeeds(buildah("rmi", ref))
    needed = {layer for others in stored_images().values() for layer in others}
    for layer in set(layers) - needed:
        shutil.rmtree(layer_directory(layer), ignore_errors=True)


def remove_others(directories: Iterable[Path], kept: set[Path]) -> list[Path]:
    """Remove the directories that are not kept; return them."""
    old = [directory for directory in directories if directory not in kept]
    for directory in old:
        shutil.rmtree(directory)
    return old


def prune() -> list[str]:
    """Remove what the present sources do not lead to; return what was removed."""
    cache = paths.cache()
    with locked(cache / "images.lock"):
        current = {image.ref for image in images_of([])} | {image_of(name).ref for name in PROGRAMS} | {BASE}
        old = [ref for ref in stored_images() if ref not in current]
        for ref in old:
            remove_image(ref)
        succeeds(buildah("rmi", "--prune"))
    with locked(cache / "binaries.lock"):
        programs = remove_others((cache / "binaries").glob("*"), {directory_of(group) for group in GROUPS})
        remove_others(cache.glob("bin-*"), {bin_directory()})
    return old + [path.name for path in programs]
