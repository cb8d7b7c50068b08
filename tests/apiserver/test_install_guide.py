"""docs/install.md at a real API server: its blocks as they stand there, in their order, but what needs nodes."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory, build_binaries
from appstack_lab.images import images_of
from tests.apiserver.kit.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "install.md"
REGISTRY = "registry.example.com/appstack"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@dataclass(frozen=True, slots=True)
class Desk:
    """A tree and a shell of somebody who follows the page."""

    folder: Path
    environment: dict[str, str]

    def follow(self, block: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def get(self, *words: str) -> Any:
        return json.loads(self.follow(f"kubectl get {' '.join(words)} -o json"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """On a cluster of its own: the page takes a CRD away from all. Docker only notes what it is told."""
    build_binaries(["kubectl", "helm"])
    tree = tmp_path / "tree"
    script(tree / ".venv" / "bin" / "lab", f"exec {Path(sys.executable).parent / 'lab'} images")
    for name in ("charts", "crds", "examples"):
        (tree / name).symlink_to(ROOT / name)
    script(tmp_path / "bin" / "docker", f'echo "$@" >> {tmp_path}/docker.log')
    with running(tmp_path / "cluster", knows_stacks=False) as bare:
        authority = base64.b64encode((bare.pki / "ca.crt").read_bytes()).decode()
        server = {"server": f"https://{bare.api}", "certificate-authority-data": authority}
        config = {
            "current-context": "work",
            "contexts": [{"name": "work", "context": {"cluster": "mine", "user": "me"}}],
            "clusters": [{"name": "mine", "cluster": server}],
            "users": [{"name": "me", "user": {"token": "admin"}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        path = f"{tmp_path / 'bin'}:{bin_directory()}:{os.environ['PATH']}"
        access = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path)}
        yield Desk(tree, {**os.environ, **access, "PATH": path, "REGISTRY": REGISTRY})


def test_the_page_installs_upgrades_and_removes_the_operator(desk: Desk, tmp_path: Path) -> None:
    push, install, begin, remove = blocks()
    wanted = {image.name: f"{REGISTRY}/{image.ref.partition('/')[2]}" for image in images_of([])}

    desk.follow(push)
    told = [line.split() for line in (tmp_path / "docker.log").read_text().splitlines()]
    assert [words[1] for words in told if words[0] == "push"] == list(wanted.values())
    assert {words[1]: words[2] for words in told if words[0] == "tag"} == {
        image.ref: wanted[image.name] for image in images_of([])
    }

    for _ in ("first", "a newer version"):
        desk.follow(install)
        where = "--namespace appstack-system"
        (container,) = desk.get(f"deployment appstack-operator {where}")["spec"]["template"]["spec"]["containers"]
        given = {each["name"]: each.get("value") for each in container["env"]}
        assert container["image"] == wanted["operator"]
        for name in ("backend", "postgres", "redis", "rabbitmq"):
            assert given[f"APPSTACK_IMAGE_{name.upper()}"] == wanted[name]

    without_nodes = [line for line in begin.splitlines() if not line.startswith(("kubectl rollout", "kubectl wait"))]
    assert len(without_nodes) == len(begin.splitlines()) - 2
    desk.follow("\n".join(without_nodes))
    (stack,) = desk.get("appstacks --all-namespaces")["items"]
    assert stack["metadata"]["name"] in begin.splitlines()[-1], "what is waited for is what was applied"

    desk.follow(remove)
    assert "appstack" not in desk.follow("kubectl get deployments,clusterroles,clusterrolebindings,crds -A -o name")
