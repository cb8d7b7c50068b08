"""`make up CLUSTER=current` at a real API server: what a stranger's kubeconfig is told."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory, build_binaries
from appstack_lab.up import access
from appstack_lab.up.steps import StepFailed, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apiserver.kit.server import BareCluster


def reach(bare: BareCluster, folder: Path, user: dict[str, Any], authority: bytes) -> None:
    server = {"server": f"https://{bare.api}", "certificate-authority-data": base64.b64encode(authority).decode()}
    config = {
        "current-context": "work",
        "contexts": [{"name": "work", "context": {"cluster": "far", "user": "me"}}],
        "clusters": [{"name": "far", "cluster": server}],
        "users": [{"name": "me", "user": user}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    access.find(file)
    build_binaries(["kubectl"])
    path = f"{bin_directory()}:{os.environ['PATH']}"
    steps = Steps(total=1, log_dir=folder / "logs", env={**os.environ, "PATH": path, "KUBECONFIG": str(file)})
    with steps.step("Cluster", "cluster", "?"):
        access.reach(steps, file)


def test_a_kubeconfig_that_works_passes(bare_cluster: BareCluster, tmp_path: Path) -> None:
    reach(bare_cluster, tmp_path, {"token": "admin"}, (bare_cluster.pki / "ca.crt").read_bytes())


def test_credentials_that_the_server_does_not_know_are_told(bare_cluster: BareCluster, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="unauthorised"):
        reach(bare_cluster, tmp_path, {"token": "wrong"}, (bare_cluster.pki / "ca.crt").read_bytes())


def test_an_authority_of_another_cluster_is_told(bare_cluster: BareCluster, tmp_path: Path) -> None:
    stranger = (bare_cluster.pki / "front-proxy-ca.crt").read_bytes()
    with pytest.raises(StepFailed, match="certificate is not trusted"):
        reach(bare_cluster, tmp_path, {"token": "admin"}, stranger)
