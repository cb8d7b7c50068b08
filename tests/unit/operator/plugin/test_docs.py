"""The examples of the guide are outputs that tests have seen, and its recipe for CI does what the guide says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from appstack_operator.plan import Impact
from appstack_operator.plugin.commands import ExitCode
from appstack_operator.plugin.plan_view import word

ROOT = Path(__file__).resolve().parents[4]
GUIDE = ROOT / "docs" / "kubectl-plugin.md"


@pytest.mark.parametrize("name", ["plan-memory-of-postgres", "status-broken"])
def test_the_guide_shows_real_outputs(name: str) -> None:
    output = (ROOT / "tests" / "apiserver" / "outputs" / f"{name}.txt").read_text()
    assert output in GUIDE.read_text()


def recipe() -> str:
    """The guide's step for CI, as it stands there."""
    (block,) = [each for each in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "plan.json" in each]
    return str(block)


@pytest.mark.parametrize("code", [*ExitCode, 127])
@pytest.mark.parametrize("shell", [("sh",), ("sh", "-e")], ids=" ".join)
def test_the_step_for_ci_stops_at_errors_and_at_what_is_disruptive(
    tmp_path: Path, shell: tuple[str, ...], code: int
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\necho '{{}}'; exit {int(code)}\n")
    kubectl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([*shell, "-c", recipe()], cwd=tmp_path, env=environment, timeout=120, check=False)
    assert (done.returncode == 0) == (code in (ExitCode.FINE, ExitCode.CHANGES))
    assert (tmp_path / "plan.json").read_text() == "{}\n"


def test_the_guide_names_every_impact() -> None:
    (sentence,) = re.findall(r"looks at `impact` in `plan.json`:([^.]*)\.", GUIDE.read_text())
    assert re.findall(r"`(.*?)`", sentence) == [word(each) for each in Impact]
