"""A kubeconfig that leads to no cluster: which file, what is wrong with it, and what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.up import __main__ as command
from appstack_lab.up import access, clusters
from appstack_lab.up.steps import StepFailed, Steps

if TYPE_CHECKING:
    from pathlib import Path


def a_config(**changes: Any) -> dict[str, Any]:
    return {
        "current-context": "work",
        "contexts": [{"name": "work", "context": {"cluster": "far", "user": "me"}}],
        "clusters": [{"name": "far", "cluster": {"server": "https://far.example:6443"}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        **changes,
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("::: { not", "is not YAML", id="garbage"),
        pytest.param("\x00\x01", "is not YAML", id="binary"),
        pytest.param("just words", "is not one", id="no fields"),
        pytest.param("", "no context of it is current", id="empty"),
        pytest.param(a_config(**{"current-context": ""}), "(there are: work)", id="no current context"),
        pytest.param(a_config(**{"current-context": "old"}), "holds no context 'old'", id="a context that is gone"),
        pytest.param(a_config(clusters=[]), "leads to no server", id="no server"),
        pytest.param(a_config(users=[{"name": "me", "user": {}}]), "holds no credentials", id="no credentials"),
        pytest.param(a_config(users=None), "holds no credentials", id="no user"),
        pytest.param(a_config(users="me"), "not lists of named entries", id="another shape"),
    ],
)
def test_a_file_that_leads_nowhere_is_told_with_the_way_out(tmp_path: Path, text: Any, complaint: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    with pytest.raises(StepFailed) as failure:
        access.find(file)
    assert complaint in str(failure.value)
    assert str(file) in str(failure.value)


def test_the_files_of_a_list_make_one_config_and_the_first_word_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(yaml.safe_dump({"users": a_config()["users"], "current-context": "work"}))
    second.write_text(yaml.safe_dump(a_config(users=[{"name": "me", "user": {}}], **{"current-context": "gone"})))
    access.find(tmp_path / f"none:{first}:{second}".removeprefix("/"))


def test_a_proxy_on_this_machine_needs_no_credentials() -> None:
    plain = a_config(clusters=[{"name": "far", "cluster": {"server": "http://127.0.0.1:8001"}}], users=[])
    assert access.defect_of(access.merged([plain])) is None


# What kubectl 1.36 said, word for word.
SAID = {
    "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?": "no API server",
    "Unable to connect to the server: dial tcp: lookup nosuch.invalid on 10.0.0.1:53: no such host": "name is not",
    "Unable to connect to the server: getting credentials: exec: executable nosuch not found": "fetches the",
    "Unable to connect to the server: tls: first record does not look like a TLS handshake": "no TLS",
    "Unable to connect to the server: tls: failed to verify certificate: x509: bad": "certificate is not trusted",
    "error: You must be logged in to the server (the server has asked for the client …)": "unauthorised",
    'Error from server (Forbidden): forbidden: User "system:anonymous" cannot get path "/api"': "holds no credentials",
    "Error from server (Forbidden): hello": "may not even list the API",
    "Error from server (NotFound): the server could not find the requested resource": "no Kubernetes API server",
    "Unable to connect to the server: dial tcp 192.0.2.1:6443: i/o timeout": "did not answer within",
    "Unable to connect to the server: dial tcp 192.0.2.1:6443: connect: no route to host": "no route",
    "Please enter Username: error: EOF": "holds no credentials",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a good kubeconfig and a kubectl that complains with the words of a file."""
    for name, script in {"kubectl": f"#!/bin/sh\ncat {tmp_path}/said >&2; exit 1\n", "helm": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(a_config()))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(clusters, "tools_path", lambda: f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(command, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(clusters, "select", lambda *_: clusters.CurrentCluster(tmp_path / "kubeconfig"))
    return tmp_path


@pytest.mark.parametrize("words", ["up", "down", "run-operator"])
@pytest.mark.parametrize("said", SAID)
def test_a_cluster_out_of_reach_is_told_as_that_by_every_command(
    machine: Path, words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / "said").write_text(f"{said}\n")
    monkeypatch.setattr("sys.argv", ["up", "--cluster", "current", words])
    assert command.main() == 1
    told = capsys.readouterr().err
    assert SAID[said] in told
    assert f"kubectl said:   {said}" in told
    assert "What to do" in told
    assert "Probable cause" not in told
    assert "finalizers" not in told


def test_words_that_nobody_knows_are_shown_as_they_are(machine: Path) -> None:
    (machine / "said").write_text("the moon is full\n")
    steps = Steps(total=1, log_dir=machine / "logs", env=dict(os.environ))
    with pytest.raises(StepFailed, match="the moon is full"), steps.step("Cluster", "cluster", "?"):
        access.reach(steps, machine / "kubeconfig")
