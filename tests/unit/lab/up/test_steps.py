"""What a person reads while `make up` works, and when it fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from appstack_lab import progress
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
        steps.run("bash", "-c", "echo it burns >&2; exit 3", show=show)
    message = str(failure.value)
    assert "exit code 3" in message
    assert "it burns" in message
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


@pytest.mark.parametrize("show", [False, True])
def test_a_silent_command_tells_that_it_still_runs(
    steps: Steps, show: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.1)
    with steps.step("Operator", "operator", "?"):
        steps.run("sleep", "1", show=show)
    assert "s, still: sleep 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("write: No space left on device", "the disk is full"),
        ("The connection to the server localhost:8080 was refused - did you specify the right host?", "no API server"),
        ("dial tcp 10.0.0.1:443: refused\nUnable to connect to the server: dial tcp", "out of reach"),
    ],
)
def test_the_failed_command_itself_names_the_cause_where_it_can(steps: Steps, words: str, cause: str) -> None:
    with pytest.raises(StepFailed) as failure, steps.step("Images", "images", "the moon."):
        steps.run("bash", "-c", "echo 'Permission denied' >&2")  # an earlier command, that did not fail
        steps.run("bash", "-c", f"echo '{words}' >&2; exit 1")
    assert cause in str(failure.value).split("Probable cause:")[1]
    assert "the moon" not in str(failure.value)


def test_what_the_lab_explains_itself_is_not_explained_again(steps: Steps) -> None:
    with pytest.raises(StepFailed) as failure, steps.step("Cluster", "cluster", "a full disk."):
        steps.run("bash", "-c", "echo \"lab: 'Bad_Name' cannot name a cluster\" >&2; exit 1", show=True)
    assert "cannot name a cluster" in str(failure.value)
    assert "Probable cause" not in str(failure.value)


def test_where_the_lab_names_a_log_and_no_cause_the_step_has_the_last_word(steps: Steps) -> None:
    said = "lab: building helm failed. Log: /cache/logs/helm.log\n  last lines:\n    main.go:1: undefined: x"
    with pytest.raises(StepFailed) as failure, steps.step("Cluster", "cluster", "Go did not build it."):
        steps.run("bash", "-c", f"echo '{said}' >&2; exit 1", show=True)
    assert "Probable cause: Go did not build it." in str(failure.value)
    with pytest.raises(StepFailed) as failure, steps.step("Cluster", "cluster", "Go did not build it."):
        steps.run("bash", "-c", f"echo '{said}\n  probable cause: the disk is full' >&2; exit 1", show=True)
    assert "Go did not build it" not in str(failure.value)


def test_a_poll_is_logged_only_when_it_fails(steps: Steps) -> None:
    with pytest.raises(StepFailed, match="gone"), steps.step("Stack", "stack", "?"):
        assert steps.run("echo", "polled", is_poll=True) == "polled\n"
        assert steps.log.read_text() == ""
        steps.run("bash", "-c", "echo gone; exit 1", is_poll=True)


@pytest.mark.parametrize("show", [False, True])
def test_no_command_waits_for_an_answer_from_the_terminal(steps: Steps, show: bool) -> None:
    kept, (read, write) = os.dup(0), os.pipe()
    os.dup2(read, 0)  # a terminal where nobody types
    try:
        with steps.step("Cluster", "cluster", "?"):
            assert steps.run("timeout", "5", "cat", show=show) == ""
    finally:
        os.dup2(kept, 0)
        for each in (kept, read, write):
            os.close(each)
