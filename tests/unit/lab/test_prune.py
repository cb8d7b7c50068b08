"""Pruning keeps what the sources of every tree lead to, the layers below it, what is in use, and nothing else."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from appstack_lab import binaries, builders, create, kubeconfigs, main, paths, prune
from appstack_lab.cluster import Cluster, build_nodes
from appstack_lab.gomodules import GROUPS
from appstack_lab.images import file_name, image_of
from appstack_lab.layers import StoredImage, build_chains, layer_directory, store_directory, stored
from appstack_lab.state import remember, write_json
from appstack_lab.uses import touch

if TYPE_CHECKING:
    from pathlib import Path

SHARED, NEW, OLD = (f"sha256:{digit * 64}" for digit in "123")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path))
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
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


@pytest.fixture
def built(cache: Path) -> Path:
    """The program etcd, built a day ago from this tree's sources."""
    (directory,) = (binaries.directory_of(group) for group in GROUPS if group.name == "etcd")
    directory.mkdir(parents=True)
    (directory / "etcd").touch()
    age(directory)
    return directory


def sources_lead_elsewhere(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """From now on we are another tree, which needs nothing that is there."""
    monkeypatch.setattr(paths, "SOURCES", cache)
    monkeypatch.setattr(prune, "present", lambda: set[str]())


def test_programs_used_lately_stay_however_old_they_are(
    cache: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries.build_binaries(["etcd"])
    links = binaries.bin_directory()
    sources_lead_elsewhere(monkeypatch, cache)
    assert prune.prune() == []
    age(built, links)
    assert prune.prune() == [built.name]
    assert not links.exists()


@pytest.mark.parametrize("command", ["build binaries etcd", "build images redis", "create cluster"])
def test_every_command_that_builds_tells_what_its_tree_leads_to(
    command: str, cache: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(create, "create_cluster", lambda *_: Cluster("shop", 0, build_nodes(1)))
    monkeypatch.setattr(kubeconfigs, "export", lambda *_: None)
    monkeypatch.setattr(builders, "build_images", lambda *_: None)
    monkeypatch.setattr(main, "stored", lambda _: True)  # nothing is new
    monkeypatch.setenv("KUBECONFIG", str(cache / "kubeconfig"))
    main.main(command.split())
    age(*cache.glob("bin-*"), built)
    sources_lead_elsewhere(monkeypatch, cache / "trees")
    assert prune.prune() == []
    assert built.exists()


def test_what_a_cluster_runs_stays(cache: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries.build_binaries(["etcd"])
    links = binaries.bin_directory()
    age(built, links)
    cluster = Cluster("shop", 0, build_nodes(1))
    remember(cluster)
    write_json(cluster.spec, {"processes": [{"command": [f"{links}/etcd", "--name=shop"]}]})
    sources_lead_elsewhere(monkeypatch, cache)
    assert prune.prune() == []
    assert (links / "etcd").exists()
    cluster.spec.unlink()
    assert prune.prune() == [built.name]


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


def test_what_killed_builds_have_left_goes_after_a_day(cache: Path) -> None:
    store(image_of("pause").ref, SHARED)
    left = [
        layer_directory(OLD),
        cache / "layers" / "x.partial",
        cache / "rootfs" / "y.partial",
        cache / "contexts" / "z-1",
    ]
    for place in left:
        place.mkdir(parents=True)
    prune.remove_leftovers()
    assert all(place.exists() for place in left), "somebody may be at work on them"
    age(*left, layer_directory(SHARED))
    prune.remove_leftovers()
    assert not any(place.exists() for place in left)
    assert layer_directory(SHARED).exists()
