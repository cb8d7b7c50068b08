"""Images as containerd sees them: layer stacks, directories to fill, what belongs to whom."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from appstack_lab.binaries import bin_directory
from appstack_lab.failures import LabError, failure_with_log
from appstack_lab.images import file_name
from appstack_lab.layers import build_chains
from appstack_lab.load import upper_directory
from appstack_lab.teardown import is_ours

HOME = "/var/lib/appstack-lab/shop/"


def test_a_stack_of_layers_is_named_as_oci_does() -> None:
    one, two = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
    below = hashlib.sha256(f"{one} {two}".encode()).hexdigest()
    assert build_chains([one, two]) == [one, f"sha256:{below}"]


@pytest.mark.parametrize(
    ("mounts", "directory"),
    [
        ("mount -t bind /root/snapshots/1/fs /mnt -o rw,rbind", "/root/snapshots/1/fs"),
        ("mount -t overlay overlay /mnt -o index=off,workdir=/s/2/work,upperdir=/s/2/fs,lowerdir=/s/1/fs", "/s/2/fs"),
    ],
)
def test_the_directory_of_a_layer_is_found_in_either_kind_of_mount(mounts: str, directory: str) -> None:
    assert upper_directory(mounts) == Path(directory)


def test_a_mount_without_a_directory_is_an_error() -> None:
    with pytest.raises(LabError):
        upper_directory("")


def test_a_reference_makes_a_file_name() -> None:
    assert "/" not in file_name("appstack.dev/redis:8.0-abc") and ":" not in file_name("appstack.dev/redis:8.0-abc")


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        (["containerd-shim-runc-v2", "-address", f"{HOME}nodes/node1/containerd.sock"], True),
        ([f"{bin_directory()}/etcd", f"--data-dir={HOME}etcd"], True),
        (["python3", "-m", "appstack_lab.supervisor", f"{HOME}config/supervisor.json"], True),
        (["tail", "-f", f"{HOME}logs/etcd.log"], False),
        (["bash", "-c", f"containerd {HOME}nodes"], False),
        (["containerd", "--config", "/var/lib/appstack-lab/other/nodes/node1/containerd.toml"], False),
    ],
)
def test_only_the_clusters_own_processes_are_ended(command: list[str], ours: bool) -> None:
    assert is_ours(command, HOME) is ours


def test_a_failed_step_names_its_log_and_the_probable_cause(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("compiling\nwrite /tmp/x: No space left on device\n")
    text = str(failure_with_log("building etcd", log))
    assert str(log) in text
    assert "the disk is full" in text
