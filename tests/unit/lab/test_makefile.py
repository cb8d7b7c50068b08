"""The Makefile refuses what it cannot do, in a sentence, before it does anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OF_MAKE = ("MAKE", "MFLAGS", "CLUSTER", "VENV", "PYTHON")


def make(*words: str, path: str = os.environ["PATH"], directory: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What make does for these words, and not for those by which the tests were started."""
    command = ["make", "--no-print-directory", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith(OF_MAKE)}
    env["PATH"] = path
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory, env=env, timeout=240)


def folders_of_tests() -> set[str]:
    return {"/".join(path.relative_to(ROOT).parts[:2]) for path in (ROOT / "tests").glob("*/**/test_*.py")}


def test_the_help_shows_what_can_be_pasted_and_chosen() -> None:
    said = make("help", "KIND_NAME=review").stdout
    assert 'eval "$(make -s env)"' in said
    assert "CLUSTER=lab|kind|current" in said
    assert "KIND_NAME=review NAMESPACE=shop" in said


def test_words_in_quotes_reach_pytest_as_they_are() -> None:
    said = make("--dry-run", "test", 'PYTEST_ARGS=-k "one or other"').stdout
    (command,) = (line for line in said.splitlines() if "pytest tests/" in line)
    assert command.endswith('-k "one or other"')


def test_the_environment_by_which_a_cluster_lives_is_not_cleaned_away(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    supervisor = [f"{python} -m appstack_lab.supervisor somewhere", "60"]  # what ps shows of it
    with subprocess.Popen(supervisor, executable=shutil.which("sleep")) as living:
        refused = make("clean", directory=tmp_path)
        living.kill()
    assert refused.returncode != 0
    assert "make down first" in refused.stderr
    assert python.exists()
    assert make("clean", directory=tmp_path).returncode == 0
    assert not python.exists()


@pytest.mark.parametrize("cluster", ["kind", "current"])
def test_beside_the_lab_everything_is_run_that_needs_no_root_and_the_rest_is_named(cluster: str) -> None:
    said = make("--dry-run", "test", f"CLUSTER={cluster}").stdout
    (command,) = (line for line in said.splitlines() if "pytest tests/" in line)
    chosen = command.partition("pytest ")[2].split(" --")[0].split()
    assert chosen == ["tests/cluster", "tests/apiserver", "tests/lease", "tests/unit"]
    (left_out,) = (line for line in said.splitlines() if "leaves out" in line)
    assert folders_of_tests() - set(chosen) == {name for name in folders_of_tests() if name in left_out}


def test_on_the_lab_every_test_is_run() -> None:
    (command,) = (line for line in make("--dry-run", "test").stdout.splitlines() if "pytest tests/" in line)
    assert folders_of_tests() <= set(command.split())


@pytest.mark.parametrize("target", ["help", "up", "down", "env", "test", "lint"])
def test_an_unknown_kind_of_cluster_is_refused_by_every_target(target: str) -> None:
    done = make(target, "CLUSTER=foo")
    assert done.returncode == 2
    assert "CLUSTER is lab, kind or current, not 'foo'" in done.stderr


@pytest.mark.parametrize("cluster", ["kind", "current"])
@pytest.mark.parametrize("target", ["chaos", "soak"])
def test_nodes_are_broken_on_the_lab_alone(target: str, cluster: str) -> None:
    done = make(target, f"CLUSTER={cluster}")
    assert done.returncode == 2
    assert f"CLUSTER=lab, not {cluster}" in done.stderr


@pytest.mark.parametrize("target", ["test", "test-cluster"])
def test_a_cluster_that_stays_is_looked_at_before_anything_is_built(target: str) -> None:
    said = make("--dry-run", target, "CLUSTER=current").stdout
    look, build = said.index("--namespace='shop' fit"), said.index("lab build binaries")
    assert look < build
    assert "lab build images" not in said  # they are built on their way to the registry


@pytest.mark.parametrize("value", ["", "lab kind", "lab foo"])
def test_a_kind_of_cluster_is_one_word(value: str) -> None:
    done = make("help", f"CLUSTER={value}")
    assert done.returncode == 2
    assert f"not '{value}'" in done.stderr


@pytest.mark.parametrize("variable", ["KIND_NAME", "NAMESPACE"])
@pytest.mark.parametrize("value", ["", "a b", "-x", "a'b", '"', "a;true", "a/../b"])
def test_an_impossible_name_reaches_the_command_whole_and_is_refused_in_a_sentence(variable: str, value: str) -> None:
    done = make("env", f"{variable}={value}", f"VENV={sys.prefix}", f"PYTHON={sys.executable}")
    assert done.returncode == 2
    assert f"{variable}: {value!r} cannot name a" in done.stderr
    assert "not - at the ends" in done.stderr
    assert "usage:" not in done.stderr


@pytest.mark.parametrize("target", ["up", "down", "test", "tools"])
def test_without_root_the_lab_is_refused_before_anything_is_installed(target: str, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    done = make(target, f"VENV={tmp_path}/venv", path=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert f"The lab needs root. Become root, or use Docker and kind: make {target} CLUSTER=kind" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "venv").exists()


def test_a_failure_before_the_tests_says_that_none_was_run() -> None:
    done = make("test", "PYTHON=false")
    assert done.returncode == 2
    assert "NO TEST WAS RUN" in done.stderr.splitlines()[-2]


def test_an_interpreter_that_is_not_there_is_told_before_anything_is_run() -> None:
    done = make("test-pythons", "PYTHONS=true python3.99")
    assert done.returncode == 2
    assert "python3.99 does not run here. Put it on PATH, or choose others: make test-pythons" in done.stderr
    assert done.stdout == ""
