"""The words of `lab`: which cluster a command means, and what it says when that is not there."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from appstack_lab import create, faults, images, layers, main, paths, state, teardown
from appstack_lab.cluster import Cluster, build_nodes
from appstack_lab.failures import LabError
from tests.unit.lab.users import as_somebody_else

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "review", "index": 0, "nodes": [1]}'])
def test_a_state_that_holds_no_cluster_is_told_with_the_way_out(
    review: Cluster, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a sudden loss of power may leave it."""
    (review.directory / state.STATE_FILE).write_text(text)
    for words in (["get", "clusters"], ["status"]):
        assert main.main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"lab: {review.directory}/cluster.json holds no cluster: remove {review.directory}, ")


OF_ANOTHER_VERSION = """
{"name": "review", "index": 0, "dual_stack": true, "nodes": [{"name": "node1", "number": 1, "zone": "a"}]}
"""


def test_a_cluster_of_another_version_is_told_with_the_way_out_and_can_be_deleted(
    review: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (review.directory / state.STATE_FILE).write_text(OF_ANOTHER_VERSION)
    for words in (["get", "clusters"], ["status"]):
        assert main.main(words) == 1
        said = capsys.readouterr().err
        assert f"another version of the lab wrote {review.directory}/cluster.json" in said
        assert "does not know dual_stack, nodes.zone." in said
        assert said.endswith("lab delete cluster --name review\n")
    removed: list[Cluster] = []
    monkeypatch.setattr(teardown, "remove_cluster", removed.append)  # it would change what clusters share here
    monkeypatch.setattr(paths, "LOCKS", tmp_path / "locks")
    assert main.main(["delete", "cluster", "--name", "review", "--kubeconfig", str(tmp_path / "kubeconfig")]) == 0
    assert removed == [Cluster("review", 0, build_nodes(1))]


def test_a_cluster_of_a_version_that_described_it_less_is_one() -> None:
    data = {"name": "review", "index": 0, "nodes": [{"name": "node1", "number": 1}]}
    assert Cluster.from_dict(data) == Cluster("review", 0, build_nodes(1))


def test_logs_without_a_component_lists_the_components(review: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["logs", "--name", "review"]) == 0
    assert capsys.readouterr().out == "etcd\nkube-apiserver\n"
    assert main.main(["logs", "etcd", "--name", "review"]) == 0
    assert capsys.readouterr().out == "etcd speaks\n"


@pytest.mark.parametrize(
    "words",
    [
        *(["node", fault, "node1"] for fault in ("partition", "heal", "crash", "restart", "shell")),
        ["load", "docker-image", images.BASE],
        ["get", "kubeconfig"],
    ],
    ids=" ".join,
)
def test_a_cluster_that_does_not_run_is_told_so_with_the_way_out(
    review: Cluster, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a reboot, say; also where its creation was broken off before anything was there."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main.main([*words, "--name", "review"]) == 1
    assert capsys.readouterr().err == f"lab: {create.standstill('review')}\n"


def test_logs_of_a_cluster_without_any_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "STATE", tmp_path)
    state.remember(Cluster("review", 0, build_nodes(1)))
    for words in (["logs"], ["logs", "etcd"]):
        assert main.main([*words, "--name", "review"]) == 1
        assert "there is no log yet: cluster review does not run" in capsys.readouterr().err


def test_images_go_into_no_node_where_all_are_down(
    review: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(paths, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(create, "ask", lambda *_: {"processes": []})
    state.write_json(faults.dead_file(review), ["node1"])
    assert main.main(["load", "docker-image", images.BASE, "--name", "review"]) == 1
    assert "every node of review is down: lab node restart NODE --name review" in capsys.readouterr().err


def test_a_log_that_is_not_there_is_told_with_those_that_are(
    review: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["logs", "../etcd", "--name", "review"]) == 1
    assert "there is no log of ../etcd; there are etcd, kube-apiserver" in capsys.readouterr().err


def test_a_log_is_followed_until_ctrl_c(
    review: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = review.logs / "etcd.log"

    def wait(_: float) -> None:
        if "news" in log.read_text():
            raise KeyboardInterrupt
        with log.open("a") as handle:
            handle.write("news\n")

    monkeypatch.setattr(main, "time", SimpleNamespace(sleep=wait))  # not for everybody: others have threads that go on
    assert main.main(["logs", "etcd", "--follow", "--name", "review"]) == 130
    assert capsys.readouterr().out == "etcd speaks\nnews\n"


def test_whoever_reads_no_further_is_not_shown_a_traceback(review: Cluster) -> None:
    (review.logs / "etcd.log").write_text("etcd speaks\n" * 100_000)
    code = (
        "import sys; from pathlib import Path; from appstack_lab import main, paths; "
        "paths.STATE = Path(sys.argv[1]); sys.exit(main.main(['logs', 'etcd', '--name', 'review']))"
    )
    words = [sys.executable, "-c", code, str(paths.STATE)]
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # with it Python takes a half-written text for a written one
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as speaking:
        assert speaking.stdout is not None
        assert speaking.stderr is not None
        speaking.stdout.readline()
        speaking.stdout.close()
        assert speaking.stderr.read() == ""
        assert speaking.wait(timeout=60) == 141


def test_images_are_told_for_people_and_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path))
    redis, backend = images.images_of(["redis", "backend"])
    place = layers.store_directory(redis.ref)
    state.write_json(place / "image.json", {"ref": redis.ref, "size": 127_400_000, "diffs": [], "chains": []})

    def said(*words: str) -> str:
        assert main.main(["images", "redis", "backend", *words]) == 0
        return capsys.readouterr().out

    assert said() == f"redis {redis.ref}\nbackend {backend.ref}\n"
    assert said("-o", "wide") == f"redis {redis.ref} 127 MB\nbackend {backend.ref}\n"
    assert json.loads(said("-o", "json")) == {"redis": redis.ref, "backend": backend.ref}


@pytest.mark.parametrize(
    "words",
    [["rootfs", "nobody"], ["images", "nobody"], ["build", "images", "nobody"], ["build", "binaries", "nobody"]],
    ids=" ".join,
)
def test_an_unknown_image_or_program_is_told_with_those_there_are(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main.main(words) == 1
    said = capsys.readouterr().err
    assert "nobody; there are " in said
    assert ("kubectl" if "binaries" in words else "redis") in said


@pytest.mark.parametrize("node", ["node2", "", "../node1", "Node1"])
def test_an_unknown_node_is_told_with_those_there_are(
    review: Cluster, node: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(create, "ask", lambda *_: {"processes": []})
    for fault in ("partition", "heal", "crash", "restart", "shell"):
        assert main.main(["node", fault, node, "--name", "review"]) == 1
        assert f"cluster review has no node {node!r}; it has node1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "review", "node1", "ls", "-l", "--name"],
        ["node1", "--name", "review", "ls", "-l", "--name"],
        ["node1", "--name=review", "--", "ls", "-l", "--name"],
        ["--name", "review", "node1", "--", "ls", "-l", "--name"],
    ],
)
def test_a_shell_knows_its_cluster_from_the_words_of_the_command(words: list[str]) -> None:
    args = main.build_parser().parse_args(["node", "shell", *words])
    assert (args.name, args.node, args.command) == ("review", "node1", ["ls", "-l", "--name"])


def test_a_shell_of_a_node_without_a_name_after_the_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.build_parser().parse_args(["node", "shell", "node1", "--name"])
    assert "--name: expected one argument" in capsys.readouterr().err


def test_who_is_not_root_is_told_so_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main.main(["node", "crash", "node1", "--name", "no-such"]) == 1
    assert capsys.readouterr().err == "lab: this needs root: namespaces, mounts and control groups are made\n"


@pytest.mark.parametrize("words", [["status"], ["logs"], ["get", "kubeconfig"], ["node", "heal", "node1"]])
@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "-x", "x" * 31, "a\n"])
def test_a_name_that_no_cluster_can_have_is_refused(
    words: list[str], name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main.main([*words, f"--name={name}"]) == 1
    assert f"{name!r} cannot name a cluster: use up to 30 of a-z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("60s", 60), ("5m", 300), ("1m30s", 90), ("1.5h", 5400), ("0s", 0)]
)
def test_a_duration_is_read_as_kind_reads_it(text: str, seconds: float) -> None:
    assert main.build_parser().parse_args(["create", "cluster", f"--wait={text}"]).wait == seconds


@pytest.mark.parametrize("text", ["", "s", "abc", "-5", "nan", "inf", "5 m", "5x", "1e9s"])
def test_what_is_no_duration_is_refused_in_a_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.build_parser().parse_args(["create", "cluster", f"--wait={text}"])
    assert "is no duration: use one such as 60s, 5m or 1m30s" in capsys.readouterr().err


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


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and all those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


def test_every_command_and_every_word_of_it_has_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPSTACK_CLUSTER", "50%")  # a sign of argparse's own
    silent = []
    for parser in parsers(main.build_parser()):
        assert parser.format_help()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                told = {choice.dest for choice in action._choices_actions if choice.help}
                silent += [f"{parser.prog} {name}" for name in action.choices if name not in told]
            elif not action.help:
                silent.append(f"{parser.prog}: {action.dest}")
    assert silent == []


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
