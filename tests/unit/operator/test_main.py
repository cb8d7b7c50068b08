"""The operator's command line: what the caller has to change is said in a sentence, with exit code 2."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import yaml

from appstack_operator.main import main
from appstack_operator.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

STACK = "apiVersion: appstack.dev/v1alpha1\nkind: AppStack\nmetadata: {name: shop}\n"


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_run_names_each_variable_that_is_missing_or_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("APPSTACK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("APPSTACK_HEALTH_PORT", "eighty")
    said = refusal(capsys, "run")
    assert said.startswith("appstack-operator: the environment is incomplete: ")
    for variable in (
        "APPSTACK_IMAGE_BACKEND: Field required",
        "APPSTACK_IMAGE_RABBITMQ",
        "APPSTACK_HEALTH_PORT: Input",
    ):
        assert variable in said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("APPSTACK_RESYNC_SECONDS", "0"),  # each pass crashed
        ("APPSTACK_POLL_SECONDS", "0"),  # services were asked without a pause
        ("APPSTACK_POLL_SECONDS", "-5"),
        ("APPSTACK_WATCH_SILENCE_SECONDS", "0"),
        ("APPSTACK_LOG_LEVEL", "verbose"),
    ],
)
def test_run_begins_nothing_with_a_value_that_it_cannot_work_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    for name in ("BACKEND", "POSTGRES", "REDIS", "RABBITMQ"):
        monkeypatch.setenv(f"APPSTACK_IMAGE_{name}", "image:1")
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("appstack_operator.process.run", lambda _: None)
    assert f"{variable}: Input should be " in refusal(capsys, "run")


def test_a_log_level_may_be_named_in_small_letters() -> None:
    images = {f"image_{name}": "image:1" for name in ("backend", "postgres", "redis", "rabbitmq")}
    assert Settings.model_validate(images | {"log_level": "debug"}).log_level == "DEBUG"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not valid YAML"),
        ("- 1", "not a Kubernetes object"),
        ("kind: ConfigMap", "no AppStack in it; it holds ConfigMap"),
        (STACK + "spec: {postgres: {instances: 99}}", "AppStack shop: spec.postgres"),
        (STACK + "spec: 3", "spec must be a map"),
    ],
)
def test_render_says_what_is_wrong_with_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "stack.yaml"
    file.write_text(text)
    assert sentence in refusal(capsys, "render", "-f", str(file))


def test_render_says_that_there_is_no_such_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.yaml: no such file" in refusal(capsys, "render", "-f", "nowhere.yaml")


def test_render_prints_the_objects_of_every_stack_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "stacks.yaml"
    file.write_text(f"{STACK}---\n{STACK.replace('shop', 'store')}---\nkind: Secret\nmetadata: {{name: other}}\n")
    main(["render", "-f", str(file)])
    printed = capsys.readouterr()
    names = {each["metadata"]["name"] for each in yaml.safe_load_all(printed.out)}
    assert {"shop-postgres", "store-postgres"} <= names
    assert printed.err == "not looked at: Secret other\n"
