"""The words of `lab`: which cluster a command means, and what it says when that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from appstack_lab import create, main, paths, state
from appstack_lab.cluster import Cluster, build_nodes
from appstack_lab.failures import LabError
from tests.unit.lab.users import as_somebody_else

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A machine that knows one cluster, with two logs."""
    monkeypatch.setattr(paths, "STATE", tmp_path)
    cluster = Cluster("review", 0, build_nodes(1))
    state.remember(cluster)
    cluster.logs.mkdir()
    for name in ("etcd", "kube-apiserver"):
        (cluster.logs / f"{name}.log").write_text(f"{name} speaks\n")
    return cluster


def test_the_shell_of_make_env_chooses_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPSTACK_CLUSTER", raising=False)
    assert main.build_parser().parse_args(["status"]).name == "appstack"
    monkeypatch.setenv("APPSTACK_CLUSTER", "review")
    assert main.build_parser().parse_args(["status"]).name == "review"
    assert main.build_parser().parse_args(["status", "--name", "other"]).name == "other"


def test_a_cluster_that_is_not_there_is_told_with_those_that_are(review: Cluster) -> None:
    with pytest.raises(LabError, match="there is no cluster appstack; there are: review"):
        state.require_cluster("appstack")


def test_where_there_is_none_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE", tmp_path)
    assert state.absence("appstack") == "there is no cluster appstack; there are: none"


def test_logs_without_a_component_lists_the_components(review: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["logs", "--name", "review"]) == 0
    assert capsys.readouterr().out == "etcd\nkube-apiserver\n"
    assert main.main(["logs", "etcd", "--name", "review"]) == 0
    assert capsys.readouterr().out == "etcd speaks\n"


def test_a_cache_of_another_user_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Building programs needs no root, but a place for them."""
    (tmp_path / "cache").mkdir(mode=0o555)
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path / "cache"))
    with as_somebody_else():
        assert main.main(["build", "binaries", "etcd"]) == 1
    said = capsys.readouterr().err
    assert f"the cache {tmp_path / 'cache'} cannot be used: set APPSTACK_CACHE to a directory that can" in said
    assert "needs root" not in said


def test_every_command_has_a_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    listed = capsys.readouterr().out
    for command in ("get", "load", "delete", "create", "status", "logs", "node", "build"):
        assert any(line.split()[:1] == [command] and len(line.split()) > 1 for line in listed.splitlines()), command


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(None, "cannot be read: No such file", id="missing"),
        pytest.param("::: { not", "is not YAML", id="garbage"),
        pytest.param("- a list", "must be a document of kind Cluster", id="a list"),
        pytest.param("", "must be a document of kind Cluster", id="empty"),
        pytest.param("{kind: Cluster, nodes: 3}", "must be a list of entries", id="a number of nodes"),
        pytest.param("{kind: Cluster, nodes: [worker]}", "must be a list of entries", id="names of roles"),
        pytest.param("{kind: Cluster, nodes: [{labels: ssd}]}", "must be names with values", id="a label alone"),
    ],
)
def test_a_kind_document_that_is_none_is_refused_in_a_sentence(
    text: str | None,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(create, "create_cluster", lambda *_: pytest.fail("it was created"))
    config = tmp_path / "config.yaml"
    if text is not None:
        config.write_text(text)
    assert main.main(["create", "cluster", "--name", "review", "--config", str(config)]) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("size", ["abc", "", "0Gi", "-1Gi", "2", "2G", "1.5Gi", "2Gi;true"])
def test_a_size_that_is_none_is_refused_at_once(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.build_parser().parse_args(["create", "cluster", f"--volume-size={size}"])
    assert "use a whole number with Mi, Gi or Ti, such as 2Gi" in capsys.readouterr().err
    assert main.build_parser().parse_args(["create", "cluster", "--volume-size=2Gi"]).volume_size == "2Gi"
