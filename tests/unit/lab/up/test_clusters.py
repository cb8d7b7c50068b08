"""What `make up CLUSTER=kind` and `CLUSTER=current` ask of kind and of Docker."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from appstack_lab.up import clusters
from appstack_lab.up.steps import StepFailed, Steps

if TYPE_CHECKING:
    from pathlib import Path

# Knows a cluster once its creation has begun, as kind does; HANG makes it die in the middle of one.
KIND = """#!/bin/sh
echo "kind $@" >> {asked}
case "$1 $2" in
  "get clusters") [ ! -e {state} ] || cat {state};;
  "export kubeconfig") : > "$6";;
  "create cluster") echo "$4" > {state}; [ ! -e {hang} ] || exit 130;;
  "delete cluster") rm -f {state};;
esac
"""
DOCKER = '#!/bin/sh\necho "docker $@" >> {asked}\n'


@dataclass
class Machine:
    """A machine with kind and Docker that write down what they are asked."""

    path: Path
    steps: Steps

    def asked(self, *beginning: str) -> list[str]:
        lines = (self.path / "asked").read_text().splitlines()
        return [line for line in lines if line.split()[: len(beginning)] == list(beginning)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    places = {name: tmp_path / name for name in ("asked", "state", "hang")}
    for name, script in {"kind": KIND, "docker": DOCKER, "kubectl": DOCKER, "helm": DOCKER}.items():
        (bin_ / name).write_text(script.format(**places))
        (bin_ / name).chmod(0o755)
    for name in (clusters.KIND_IMAGE_VARIABLE, clusters.REGISTRY_VARIABLE, clusters.PUSH_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    steps = Steps(total=1, log_dir=tmp_path / "logs", env={**os.environ, "PATH": f"{bin_}:/usr/bin:/bin"})
    steps.log_dir.mkdir()
    steps.log = steps.log_dir / "cluster.log"
    steps.log.touch()
    return Machine(tmp_path, steps)


@pytest.fixture
def cluster(tmp_path: Path) -> clusters.KindCluster:
    return clusters.KindCluster("proof", tmp_path / "build" / "kubeconfig")


def test_a_kind_cluster_is_made_once(machine: Machine, cluster: clusters.KindCluster) -> None:
    cluster.ensure(machine.steps)
    cluster.ensure(machine.steps)
    (made,) = machine.asked("kind", "create")
    assert "--image" not in made
    assert len(machine.asked("kind", "export", "kubeconfig")) == 2
    assert machine.asked("kind", "delete") == []


def test_the_image_of_its_nodes_can_be_chosen(
    machine: Machine, cluster: clusters.KindCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(clusters.KIND_IMAGE_VARIABLE, "kindest/node:v1.36.4")
    cluster.ensure(machine.steps)
    (made,) = machine.asked("kind", "create")
    assert "--image kindest/node:v1.36.4" in made


def test_half_a_kind_cluster_is_not_taken_for_a_whole_one(machine: Machine, cluster: clusters.KindCluster) -> None:
    (machine.path / "hang").touch()
    with pytest.raises(StepFailed, match="exit code 130"):
        cluster.ensure(machine.steps)
    (machine.path / "hang").unlink()
    cluster.ensure(machine.steps)
    assert len(machine.asked("kind", "create")) == 2
    assert len(machine.asked("kind", "delete")) == 1
    cluster.ensure(machine.steps)  # now it is whole, and stays
    assert len(machine.asked("kind", "delete")) == 1


def test_the_kubelets_of_a_kind_cluster_start_on_a_machine_with_cgroup_v1() -> None:
    config = yaml.safe_load(clusters.KIND_CONFIG.read_text())
    patches = [yaml.safe_load(patch) for patch in config["kubeadmConfigPatches"]]
    assert [patch["failCgroupV1"] for patch in patches if patch["kind"] == "KubeletConfiguration"] == [False]


def test_a_kind_cluster_has_three_nodes_as_the_lab_has_and_all_take_pods() -> None:
    nodes = yaml.safe_load(clusters.KIND_CONFIG.read_text())["nodes"]
    assert [node["role"] for node in nodes] == ["control-plane", "worker", "worker"]
    (patch,) = (yaml.safe_load(each) for each in nodes[0]["kubeadmConfigPatches"])
    assert (patch["kind"], patch["nodeRegistration"]["taints"]) == ("InitConfiguration", [])


def test_taking_down_a_kind_cluster_that_is_not_there_names_those_that_are(
    machine: Machine, cluster: clusters.KindCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine.path / "state").write_text("review\n")
    cluster.delete(machine.steps)
    assert "There is no cluster 'proof'; running: review." in capsys.readouterr().out


def test_a_deleted_kind_cluster_leaves_no_mark_behind(machine: Machine, cluster: clusters.KindCluster) -> None:
    (machine.path / "hang").touch()
    with pytest.raises(StepFailed):
        cluster.ensure(machine.steps)
    cluster.delete(machine.steps)
    assert list(cluster.kubeconfig.parent.iterdir()) == []


def test_each_image_is_pushed_under_its_own_name_and_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(clusters.REGISTRY_VARIABLE, "registry.example.com/team/")
    monkeypatch.setattr(clusters, "built", lambda *_: {"redis": "appstack.dev/redis:8.0-abc"})
    refs = clusters.CurrentCluster(machine.path / "kubeconfig").images(machine.steps)
    assert refs == {"redis": "registry.example.com/team/redis:8.0-abc"}
    assert machine.asked("docker", "push") == [f"docker push --quiet {refs['redis']}"]
    assert f"push {refs['redis']}" in capsys.readouterr().out


def test_images_that_are_there_already_are_neither_built_nor_pushed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(clusters.REGISTRY_VARIABLE, "registry.example.com/team")
    monkeypatch.setenv(clusters.PUSH_VARIABLE, "no")
    monkeypatch.setattr(clusters, "image_refs", lambda: {"redis": "appstack.dev/redis:8.0-abc"})
    refs = clusters.CurrentCluster(machine.path / "kubeconfig").images(machine.steps)
    assert refs == {"redis": "registry.example.com/team/redis:8.0-abc"}
    assert not (machine.path / "asked").exists()


def test_without_a_registry_nothing_is_begun(machine: Machine) -> None:
    with pytest.raises(StepFailed, match=clusters.REGISTRY_VARIABLE):
        clusters.require_registry(machine.steps)
    assert not (machine.path / "asked").exists()


@pytest.mark.parametrize("missing", ["docker", "kind"])
def test_a_missing_program_of_kind_is_found_before_the_tests(machine: Machine, missing: str) -> None:
    (machine.path / "bin" / missing).unlink()
    machine.steps.env = {**machine.steps.env, "PATH": str(machine.path / "bin")}
    (machine.path / "bin" / "bash").symlink_to("/bin/bash")
    with pytest.raises(StepFailed, match=f"'{missing}' is not on PATH"):
        clusters.require_kind(machine.steps)
