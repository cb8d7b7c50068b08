"""What step 4 of `make up` says while it waits and logs, whom it finds holding the Lease, and where tests may run."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from appstack_lab import progress
from appstack_lab.up import stack
from appstack_lab.up.steps import StepFailed, Steps

if TYPE_CHECKING:
    from pathlib import Path

# Answers with one line of a file after the other, the last for ever; of the namespaces with those it is asked for.
KUBECTL = """#!/bin/bash
case "$1 $2" in
  "get appstack") answer=$(head -1 {answers}); [ "$(wc -l < {answers})" = 1 ] || sed -i 1d {answers}
    [ "$answer" != refused ] && echo "$answer";;
  "get lease") cat {holder};;
  "get pods") echo pod/appstack-operator-5d9c8b7f6-abcde;;
  "get crd") cat {crd};;
  "get appstacks") cat {stacks};;
  "get namespaces") for name in "${{@:3}}"; do grep -x "namespace/$name" {namespaces}; done; true;;
esac
"""


def told(ready: str, reason: str, message: str = "") -> dict[str, Any]:
    conditions = [
        {"type": "PostgresReady", "status": ready, "reason": reason, "message": message, "observedGeneration": 1},
        {"type": "Ready", "status": ready, "reason": reason, "message": message, "observedGeneration": 1},
    ]
    return {"metadata": {"generation": 1}, "status": {"conditions": conditions, "padding": "x" * 5000}}


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    kubectl = tmp_path / "kubectl"
    files = ("answers", "holder", "crd", "stacks", "namespaces")
    kubectl.write_text(KUBECTL.format(**{name: tmp_path / name for name in files}))
    kubectl.chmod(0o755)
    return Steps(total=1, log_dir=tmp_path / "logs", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})


def test_a_wait_tells_changes_and_what_still_lacks_and_logs_changes_alone(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.6)  # less than the pause between two looks
    waiting = told("False", "Creating", "shop-postgres-1 is not Ready")
    answers = [waiting, waiting, waiting, told("True", "Ready")]
    (tmp_path / "answers").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))
    with steps.step("Stack", "stack", "?"):
        stack.apply_example(steps, "shop")
    said = capsys.readouterr().out
    assert said.count("PostgresReady: Creating\n") == 1
    assert "s, still: PostgresReady: Creating (shop-postgres-1 is not Ready)" in said
    log = steps.log.read_text()
    assert log.count("shop-postgres-1 is not Ready") == 2  # both conditions, once
    assert "padding" not in log


def test_a_wait_outlasts_an_api_server_that_starts_again(steps: Steps, tmp_path: Path) -> None:
    ready = json.dumps(told("True", "Ready"))
    (tmp_path / "answers").write_text(f"refused\n{json.dumps(told('False', 'Creating'))}\nrefused\n{ready}\n")
    with steps.step("Stack", "stack", "?"):
        stack.apply_example(steps, "shop")


def test_a_wait_ends_where_the_api_server_stays_away(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "SILENCE_LIMIT_SECONDS", 0.5)
    (tmp_path / "answers").write_text("refused\n")
    with pytest.raises(StepFailed, match="ended with exit code 1"), steps.step("Stack", "stack", "?"):
        stack.apply_example(steps, "shop")


@pytest.mark.parametrize(
    ("holder", "foreign"),
    [
        ("appstack-operator-5d9c8b7f6-abcde_0a1b2c3d", False),
        ("appstack-operator-7c6d5b4a3-zzzzz_0a1b2c3d", False),  # the old pod, that has just ended
        ("", False),
        ("workstation_0a1b2c3d", True),
    ],
)
def test_an_operator_outside_the_cluster_that_holds_the_lease_is_told(
    steps: Steps, tmp_path: Path, holder: str, foreign: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holder").write_text(holder)
    with steps.step("Operator", "operator", "?"):
        stack.tell_foreign_holder(steps)
    said = capsys.readouterr().out
    assert ("make run-operator" in said) is foreign
    assert (holder in said) is foreign or not holder


@pytest.mark.parametrize(
    ("there", "named"),
    [("shop/shop team/store ", "(shop/shop, team/store)"), ("", "(none now, but their CRD is there)")],
)
def test_a_cluster_that_knows_appstacks_is_not_for_tests(steps: Steps, tmp_path: Path, there: str, named: str) -> None:
    (tmp_path / "crd").write_text("customresourcedefinition.apiextensions.k8s.io/appstacks.appstack.dev\n")
    (tmp_path / "stacks").write_text(there)
    with pytest.raises(StepFailed) as refused, steps.step("Fit for tests", "fit", "?"):
        stack.require_vacant(steps)
    assert named in str(refused.value)
    assert "make down CLUSTER=current" in str(refused.value)


def test_a_namespace_of_somebody_else_is_not_for_tests(steps: Steps, tmp_path: Path) -> None:
    (tmp_path / "crd").write_text("")
    (tmp_path / "namespaces").write_text("namespace/default\nnamespace/shop\n")
    with (
        pytest.raises(StepFailed, match="this cluster has of these: shop"),
        steps.step("Fit for tests", "fit", "?"),
    ):
        stack.require_vacant(steps)


def test_a_cluster_that_knows_no_appstacks_is_for_tests(steps: Steps, tmp_path: Path) -> None:
    (tmp_path / "crd").write_text("")
    (tmp_path / "namespaces").write_text("namespace/default\nnamespace/shop-of-somebody\n")
    with steps.step("Fit for tests", "fit", "?"):
        stack.require_vacant(steps)
    asked = steps.log.read_text()
    assert f"get crd {stack.CRD_NAME}" in asked, "it was looked at, not taken for granted"
    for name in (*stack.TEST_NAMESPACES, stack.OPERATOR_NAMESPACE):
        assert f" {name} " in asked
