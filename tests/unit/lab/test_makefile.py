"""The Makefile refuses what it cannot do, in a sentence, before it does anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def make(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "CLUSTER"))}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env, timeout=120)


def test_the_help_shows_what_can_be_pasted() -> None:
    assert 'eval "$(make -s env)"' in make("help").stdout


@pytest.mark.parametrize("target", ["help", "up", "down", "env", "test", "lint"])
def test_an_unknown_kind_of_cluster_is_refused_by_every_target(target: str) -> None:
    done = make(target, "CLUSTER=foo")
    assert done.returncode == 2
    assert "CLUSTER is lab, kind or current, not 'foo'" in done.stderr


@pytest.mark.parametrize("target", ["test", "test-cluster", "chaos"])
def test_nobodys_own_cluster_is_tested_to_pieces(target: str) -> None:
    done = make(target, "CLUSTER=current")
    assert done.returncode == 2
    assert "CLUSTER=lab or CLUSTER=kind, not current" in done.stderr


def test_a_failure_before_the_tests_says_that_none_was_run() -> None:
    done = make("test", "PYTHON=false")
    assert done.returncode == 2
    assert "NO TEST WAS RUN" in done.stderr.splitlines()[-2]
