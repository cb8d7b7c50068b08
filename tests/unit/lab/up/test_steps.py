"""What a person reads while `make up` works, and when it fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from appstack_lab.up.steps import StepFailed, Steps

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(total=2, log_dir=tmp_path / "logs", env=dict(os.environ))


def test_a_step_tells_its_number_and_its_time(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    with steps.step("Images", "images", "a full disk."):
        assert steps.run("echo", "done") == "done\n"
    said = capsys.readouterr().out
    assert "[1/2] Images" in said
    assert "done in 0." in said


def test_progress_is_shown_while_the_answer_is_kept(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    with steps.step("Images", "images", "a full disk."):
        assert steps.run("bash", "-c", "echo building >&2; echo answer", show=True) == "answer\n"
    assert "building" in capsys.readouterr().out


@pytest.mark.parametrize("show", [False, True])
def test_a_failed_step_names_the_log_its_end_and_the_cause(
    steps: Steps, show: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StepFailed) as failure, steps.step("Images", "images", "a full disk."):
        steps.run("bash", "-c", "echo no space left >&2; exit 3", show=show)
    message = str(failure.value)
    assert "exit code 3" in message
    assert "no space left" in message
    assert str(steps.log_dir / "images.log") in message
    assert "Probable cause: a full disk." in message
    assert "FAILED after" in capsys.readouterr().out


def test_a_missing_tool_is_named(steps: Steps) -> None:
    with pytest.raises(StepFailed, match="'no-such-tool' is not on PATH"), steps.step("Images", "images", "?"):
        steps.run("no-such-tool")


def test_a_secret_answer_stays_out_of_the_log(steps: Steps) -> None:
    with steps.step("Demo", "demo", "?"):
        assert steps.run("echo", "$TOKEN", is_secret=True) == "$TOKEN\n"
        steps.run("bash", "-c", "printf hid; echo den", is_secret=True)
    assert "hidden" not in steps.log.read_text()
