"""Pruning keeps what the sources lead to and the layers below it, and nothing else."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from appstack_lab import prune
from appstack_lab.images import image_of
from appstack_lab.layers import StoredImage, build_chains, layer_directory, store_directory, stored
from appstack_lab.state import write_json

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


def test_an_image_of_older_sources_goes_and_its_own_layers_with_it(cache: Path):
    current = image_of("pause").ref
    store(current, SHARED, NEW)
    store("appstack.dev/pause:v1-000000000000", SHARED, OLD)
    (cache / "binaries" / "etcd-000000000000").mkdir(parents=True)
    removed = prune.prune()
    assert removed == ["appstack.dev/pause:v1-000000000000", "etcd-000000000000"]
    assert stored(current) is not None
    assert not layer_directory(OLD).exists()


def test_an_image_that_lost_a_layer_does_not_count_as_stored():
    store("appstack.dev/pause:v1-1", SHARED, NEW)
    layer_directory(NEW).rmdir()
    assert stored("appstack.dev/pause:v1-1") is None
