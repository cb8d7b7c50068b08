"""The commands of `make up`: each means the cluster that the person named, and says which variables to repeat."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from appstack_lab import paths
from appstack_lab.failures import of_the_disk
from appstack_lab.kubeconfigs import write_private
from appstack_lab.up import __main__ as command
from appstack_lab.up import clusters, demo
from appstack_lab.up.steps import StepFailed
from tests.unit.lab.users import as_somebody_else

# A lab with one cluster, review.
LAB = """#!/bin/sh
case "$1 $2" in
  "get clusters") echo review;;
  "get kubeconfig") echo "access to $4";;
  "bin ") echo /lab/bin;;
  *) echo "lab $@" >&2;;
esac
"""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lab = tmp_path / "lab"
    lab.write_text(LAB)
    lab.chmod(0o755)
    build = tmp_path / "build"
    monkeypatch.setattr(clusters, "LAB", str(lab))
    monkeypatch.setattr(clusters, "BUILD", build)
    monkeypatch.setattr(clusters, "LATEST", build / "kubeconfig")
    monkeypatch.setattr(command, "LOGS", build / "logs")
    return build


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["up", *words])
    return command.main()


def test_only_variables_that_differ_from_their_defaults_are_repeated() -> None:
    assert str(command.Choice()) == ""
    assert str(command.Choice("kind", "appstack", "other")) == " CLUSTER=kind NAMESPACE=other"


def test_the_closing_text_recommends_commands_for_this_cluster_and_the_primary_of_now() -> None:
    numbers = demo.Numbers(100, 100, 0, 0.1, 1.0)
    text = command.summary(numbers, command.Choice(name="review"), "http://10.0.0.1", "shop-postgres-1", 60.0)
    assert 'eval "$(make -s env KIND_NAME=review)"' in text
    assert "make down KIND_NAME=review\n" in text
    assert "delete pod shop-postgres-1 " in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--name", "Bad_Name", "up"], "KIND_NAME: 'Bad_Name' cannot name a cluster"),
        (["--namespace", "Bad_NS", "up"], "NAMESPACE: 'Bad_NS' cannot name a namespace"),
        (["--namespace", "x" * 64, "down"], "cannot name a namespace"),
    ],
)
def test_impossible_names_are_refused_before_anything_is_made(
    build: Path, words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words) == 1
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.out == ""
    assert not build.exists()


def test_each_cluster_has_a_kubeconfig_of_its_own_and_the_latest_a_handy_name(build: Path) -> None:
    first, second = clusters.kubeconfig_of("one"), clusters.kubeconfig_of("two")
    assert first != second
    for file in (first, second):
        write_private(file, file.parent.name)
        clusters.make_latest(file)
        assert (build / "kubeconfig").read_text() == file.parent.name
    assert second.stat().st_mode & 0o077 == 0
    clusters.forget(first)
    assert (build / "kubeconfig").read_text() == "two"
    clusters.forget(second)
    assert not (build / "kubeconfig").is_symlink()


def test_a_kubeconfig_of_somebody_elses_choice_stays(build: Path, tmp_path: Path) -> None:
    own = tmp_path / "own" / "kubeconfig"
    write_private(own, "text")
    clusters.make_latest(own)
    clusters.forget(own)
    assert own.exists()
    assert not (build / "kubeconfig").exists()


def test_the_operator_of_another_cluster_is_not_touched(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--name", "nosuch", "run-operator") == 1
    said = capsys.readouterr().err
    assert "There is no cluster 'nosuch'; running: review. To make it: make up KIND_NAME=nosuch" in said


def test_the_operator_of_this_shell_has_the_settings_of_the_one_that_it_replaces(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all its images: the stack goes on with what its nodes can pull."""
    image = "registry.example.com/appstack/redis:8.0-1"
    env: list[dict[str, Any]] = [
        {"name": "APPSTACK_IMAGE_REDIS", "value": image},
        {"name": "APPSTACK_LOG_LEVEL", "value": "info"},
        {"name": "APPSTACK_LEASE_NAMESPACE", "valueFrom": {}},
    ]
    live = {"spec": {"template": {"spec": {"containers": [{"env": env}, {"name": "sidecar"}]}}}}
    (tmp_path / "deployment.json").write_text(json.dumps(live))
    kubectl, asked = tmp_path / "kubectl", tmp_path / "asked"
    kubectl.write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\n[ "$1" != get ] || [ "$2" = --raw ] || cat {tmp_path}/deployment.json\n'
    )
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("APPSTACK_LOG_LEVEL", "debug")
    begun: list[tuple[str, list[str], dict[str, str]]] = []

    def begin(program: str, words: list[str], settings: dict[str, str]) -> None:
        assert "scale deployment/appstack-operator -n appstack-system --replicas=0" in asked.read_text(), "paused first"
        begun.append((program, words, settings))

    monkeypatch.setattr(os, "execve", begin)
    assert run(monkeypatch, "--name", "review", "run-operator") == 0
    ((program, words, settings),) = begun
    assert Path(program) == Path(sys.executable).parent / "appstack-operator", "this tree's"
    assert os.access(program, os.X_OK)
    assert words[1:] == ["run"]
    assert settings["APPSTACK_IMAGE_REDIS"] == image
    assert settings["APPSTACK_LEASE_NAMESPACE"] == "appstack-system"
    assert settings["APPSTACK_LOG_LEVEL"] == "debug", "what this shell says comes first"


def test_a_shell_gets_the_access_and_the_name_of_its_cluster(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--name", "review", "env") == 0
    said = capsys.readouterr()
    assert f"export KUBECONFIG={build}/clusters/review/kubeconfig\n" in said.out
    assert "export APPSTACK_CLUSTER=review\n" in said.out
    assert (build / "clusters" / "review" / "kubeconfig").read_text() == "access to review\n"
    assert said.err == ""


def test_a_shell_begins_in_the_namespace_of_its_stack(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"contexts": [{"name": "kind-review", "context": {"cluster": "a", "user": "a"}}]}
    (tmp_path / "access").write_text(yaml.safe_dump(config))
    (tmp_path / "lab").write_text(LAB.replace('echo "access to $4"', f"cat {tmp_path}/access"))
    own, somebodys = build / "clusters" / "review" / "kubeconfig", tmp_path / "somebodys"

    def namespace_in(file: Path, *words: str) -> str | None:
        assert run(monkeypatch, "--name", "review", *words, "env") == 0
        found: str | None = yaml.safe_load(file.read_text())["contexts"][0]["context"].get("namespace")
        return found

    assert namespace_in(own) == "shop"
    assert namespace_in(own, "--namespace", "other") == "other"
    assert namespace_in(somebodys, "--kubeconfig", str(somebodys)) is None
    assert own.stat().st_mode & 0o077 == 0


def test_a_shell_for_no_cluster_is_told_so_beside_the_settings(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--name", "nosuch", "env") == 0
    said = capsys.readouterr()
    assert all(line.startswith("export ") for line in said.out.splitlines())
    assert "no cluster 'nosuch'; running: review. To make it: make up KIND_NAME=nosuch" in said.err


def test_taking_down_from_a_cluster_without_access_says_that_alone(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = clusters.CurrentCluster(tmp_path / "no-kubeconfig")
    monkeypatch.setattr(clusters, "select", lambda *_: missing)
    assert run(monkeypatch, "--cluster", "current", "down") == 1
    said = capsys.readouterr().err
    assert f"There is no kubeconfig at {tmp_path}/no-kubeconfig" in said
    assert "finalizers" not in said


def test_a_list_of_kubeconfigs_is_taken_whole(tmp_path: Path) -> None:
    context = {"name": "a", "context": {"cluster": "a"}}
    server = {"name": "a", "cluster": {"server": "http://127.0.0.1:8001"}}
    whole = {"current-context": "a", "contexts": [context], "clusters": [server]}
    (tmp_path / "second").write_text(yaml.safe_dump(whole))
    listed = clusters.CurrentCluster(tmp_path / f"first:{tmp_path}/second")
    listed.find()
    assert command.environment(listed)["KUBECONFIG"] == f"{tmp_path}/first:{tmp_path}/second"
    with pytest.raises(StepFailed, match="no kubeconfig"):
        clusters.CurrentCluster(tmp_path / "first").find()


@pytest.mark.parametrize("words", ["cluster", "up", "down"])
def test_without_root_a_lab_is_refused_before_anything_is_built(
    build: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(monkeypatch, "--name", "review", words) == 1
    said = capsys.readouterr()
    assert "The lab needs root" in said.err
    assert "CLUSTER=kind" in said.err
    assert "lab build" not in said.out


def test_a_full_disk_is_told_in_a_sentence(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(clusters, "keep_access", fail)
    assert run(monkeypatch, "--name", "review", "env") == 1
    assert "FAILED: the disk is full: free some space" in capsys.readouterr().err


def test_a_build_folder_that_another_user_made_is_told_with_the_way_out(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "SOURCES", tmp_path)
    monkeypatch.setattr(clusters, "LAB", "true")  # anybody may run it
    build.mkdir(mode=0o555)
    with as_somebody_else():
        assert run(monkeypatch, "--name", "review", "cluster") == 1
    said = capsys.readouterr().err
    assert "FAILED: another user made build/ in this tree: let `make clean` remove it as that user" in said
    assert str(build) in said


def test_what_else_may_not_be_used_is_not_taken_for_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree that lies in a folder of this name, and a file beside it."""
    monkeypatch.setattr(paths, "SOURCES", tmp_path / "build" / "appstack")
    theirs = tmp_path / "build" / "kubeconfig"
    with pytest.raises(PermissionError, match="kubeconfig"):
        of_the_disk(PermissionError(errno.EACCES, "Permission denied", str(theirs)))
