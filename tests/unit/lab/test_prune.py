"""Pruning keeps what the sources of every tree lead to, the layers below it, what is in use, and nothing else."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from appstack_lab import paths, prune
from appstack_lab.images import file_name, image_of
from appstack_lab.layers import StoredImage, build_chains, layer_directory, store_directory, stored
from appstack_lab.state import write_json
from appstack_lab.uses import touch

if TYPE_CHECKING:
    from pathlib import Path

SHARED, NEW, OLD = (f"sha256:{digit * 64}" for digit in "123")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path))
    return tmp_path


def store(ref: str, *diffs: str) -> None:
    for diff in diffs:
        layer_directory(diff).mkdir(parents=True, exist_ok=True)
    image = StoredImage(ref, 0, list(diffs), build_chains(list(diffs)))
    write_json(store_directory(ref) / "image.json", asdict(image))


OLD_REF, OLD_PROGRAM = "appstack.dev/pause:v1-000000000000", "etcd-000000000000"


def age(*places: Path) -> None:
    """Make it look as if nobody had used these for a day."""
    for place in places:
        os.utime(place, (time.time() - 86400,) * 2)


def note_of_another_tree(cache: Path, sources: Path, *names: str) -> None:
    write_json(cache / "trees" / "another.json", {"sources": str(sources), "names": list(names)})


def an_old_build(cache: Path) -> None:
    store(OLD_REF, SHARED, OLD)
    (cache / "binaries" / OLD_PROGRAM).mkdir(parents=True)
    age(store_directory(OLD_REF), cache / "binaries" / OLD_PROGRAM)


def test_an_image_of_older_sources_goes_and_its_own_layers_with_it(cache: Path) -> None:
    current = image_of("pause").ref
    store(current, SHARED, NEW)
    age(store_directory(current))
    an_old_build(cache)
    assert prune.prune() == [OLD_REF, OLD_PROGRAM]
    assert stored(current) is not None
    assert not layer_directory(OLD).exists()
    assert not store_directory(OLD_REF).exists()


def test_what_another_tree_beside_this_one_needs_stays(cache: Path) -> None:
    an_old_build(cache)
    note_of_another_tree(cache, cache, OLD_REF, OLD_PROGRAM)
    assert prune.prune() == []
    assert stored(OLD_REF) is not None
    note_of_another_tree(cache, cache / "gone", OLD_REF, OLD_PROGRAM)
    assert prune.prune() == [OLD_REF, OLD_PROGRAM]


def test_what_this_tree_leads_to_is_known_to_another_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = image_of("pause").ref
    store(ours, SHARED)
    age(store_directory(ours))
    prune.prune()
    # The same command of another tree, whose sources lead elsewhere.
    monkeypatch.setattr(paths, "SOURCES", cache)
    monkeypatch.setattr(prune, "present", lambda: {OLD_REF})
    assert prune.prune() == []
    assert stored(ours) is not None


def test_an_image_that_a_test_may_still_stand_on_stays(cache: Path) -> None:
    an_old_build(cache)
    root = cache / "rootfs" / file_name(OLD_REF)
    root.mkdir(parents=True)
    age(root)
    touch([OLD_REF])
    assert prune.prune() == [OLD_PROGRAM]
    assert root.exists()
    age(root, store_directory(OLD_REF))
    assert prune.prune() == [OLD_REF]
    assert not root.exists()


def test_an_image_that_lost_a_layer_does_not_count_as_stored() -> None:
    store("appstack.dev/pause:v1-1", SHARED, NEW)
    layer_directory(NEW).rmdir()
    assert stored("appstack.dev/pause:v1-1") is None
