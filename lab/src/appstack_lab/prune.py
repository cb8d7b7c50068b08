"""Clears the cache of programs, images and layers that no tree leads to, no cluster runs and nobody has used lately."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.binaries import bin_directory, directory_of
from appstack_lab.builders import buildah
from appstack_lab.commands import output_of, succeeds
from appstack_lab.gomodules import GROUPS
from appstack_lab.images import BASE, PROGRAMS, file_name, image_of, images_of
from appstack_lab.layers import layer_directory, store_directory
from appstack_lab.locks import locked
from appstack_lab.uses import is_fresh, needed_by_clusters, needed_by_trees, places_of, remember_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

STAGE_SECONDS = 24 * 3600.0


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


def remove_others(directories: Iterable[Path]) -> list[Path]:
    """Remove those of the directories that nobody has used lately; return them."""
    old = [directory for directory in directories if not is_fresh(directory)]
    for directory in old:
        shutil.rmtree(directory)
    return old


def present() -> set[str]:
    """Return what this tree's present sources lead to: images by reference, programs by their directory's name."""
    images = {image.ref for image in images_of([])} | {image_of(name).ref for name in PROGRAMS} | {BASE}
    return images | {directory_of(group).name for group in GROUPS} | {bin_directory().name}


def note_tree() -> None:
    """Let whoever prunes the cache know what this tree leads to: for every command that builds or finds it built."""
    remember_tree(present())


def prune() -> list[str]:
    """Remove what neither a tree's present sources nor a cluster leads to; return what was removed.

    Other trees are known by the notes they leave at each build, so several may share a cache.
    """
    cache = paths.cache()
    note_tree()
    with locked(cache / "images.lock"):
        kept = needed_by_trees() | needed_by_clusters()
        old = [ref for ref in stored_images() if ref not in kept and not is_fresh(*places_of(ref))]
        for ref in old:
            remove_image(ref)
        remove_unnamed()
        remove_leftovers()
    with locked(cache / "binaries.lock"):
        programs = remove_others(path for path in cache.glob("binaries/*") if path.name not in kept)
        remove_others(path for path in cache.glob("bin-*") if path.name not in kept)
    return old + [path.name for path in programs]


def remove_unnamed() -> None:
    """Remove stages of old builds; those of the last day make the next build quick."""
    if shutil.which("buildah") is None:
        return
    listed = output_of(buildah("images", "--filter", "dangling=true", "--json"))
    for image in json.loads(listed or "[]") or []:
        if time.time() - image["created"] > STAGE_SECONDS:
            succeeds(buildah("rmi", image["id"]))  # what a newer stage stands on stays


def remove_leftovers() -> None:
    """Remove what builds that were killed have left: layers that no image names, and what was only half there."""
    cache = paths.cache()
    named = {layer_directory(layer) for layers in stored_images().values() for layer in layers}
    half = (*cache.glob("rootfs/*.partial"), *cache.glob("contexts/*"))
    for directory in {*half, *cache.glob("layers/*")} - named:
        if time.time() - directory.stat().st_mtime > STAGE_SECONDS:  # younger ones may be somebody's work
            shutil.rmtree(directory)
