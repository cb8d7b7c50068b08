"""`make up` at a real API server: what a stranger's kubeconfig is told, and what a broken off helm has left."""

from __future__ import annotations

import base64
import gzip
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory, build_binaries
from appstack_lab.up import access, stack
from appstack_lab.up.steps import StepFailed, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apiserver.kit.server import BareCluster

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def steps_with(bare: BareCluster, folder: Path, user: dict[str, Any], authority: bytes) -> tuple[Steps, Path]:
    """What `make up` works with, and its kubeconfig."""
    server = {"server": f"https://{bare.api}", "certificate-authority-data": base64.b64encode(authority).decode()}
    config = {
        "current-context": "work",
        "contexts": [{"name": "work", "context": {"cluster": "far", "user": "me"}}],
        "clusters": [{"name": "far", "cluster": server}],
        "users": [{"name": "me", "user": user}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    build_binaries(["kubectl"])
    path = f"{bin_directory()}:{os.environ['PATH']}"
    return Steps(total=1, log_dir=folder / "logs", env={**os.environ, "PATH": path, "KUBECONFIG": str(file)}), file


def reach(bare: BareCluster, folder: Path, user: dict[str, Any], authority: bytes) -> None:
    steps, file = steps_with(bare, folder, user, authority)
    access.find(file)
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


@pytest.fixture
def steps(bare_cluster: BareCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Those of the operator's installation, with a small chart in a namespace of this test's own."""
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: appstack-operator\nversion: 0.1.0\n")
    content = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: installed}\n"
    (chart / "templates" / "content.yaml").write_text(content)
    monkeypatch.setattr(stack, "OPERATOR_NAMESPACE", "broken-off")
    build_binaries(["helm"])
    made, _ = steps_with(bare_cluster, tmp_path, {"token": "admin"}, (bare_cluster.pki / "ca.crt").read_bytes())
    return made


def install(steps: Steps, chart: Path) -> None:
    steps.run("helm", "upgrade", "--install", stack.OPERATOR, str(chart), "--namespace", stack.OPERATOR_NAMESPACE)


def break_off(steps: Steps) -> None:
    """Leave what a helm leaves that is killed at work: the next revision, pending."""
    where = ("-n", stack.OPERATOR_NAMESPACE)
    release = json.loads(
        steps.run("kubectl", "get", "secret", "sh.helm.release.v1.appstack-operator.v1", *where, "-o", "json")
    )
    content = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(release["data"]["release"]))))
    content["version"], content["info"]["status"] = 2, "pending-upgrade"
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(content).encode()))).decode()
    labels = {**release["metadata"]["labels"], "status": "pending-upgrade", "version": "2"}
    metadata = {"name": "sh.helm.release.v1.appstack-operator.v2", "labels": labels}
    pending = {**release, "metadata": metadata, "data": {"release": packed}}
    steps.run("kubectl", "create", *where, "-f", "-", stdin=json.dumps(pending))


def test_an_installation_that_was_broken_off_is_begun_again(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with steps.step("Operator", "operator", "?"):
        stack.ensure_namespace(steps, stack.OPERATOR_NAMESPACE)
        install(steps, tmp_path / "chart")
        break_off(steps)
        stack.forget_unfinished_release(steps)  # somebody may be at work just now
        with pytest.raises(StepFailed, match="another make up is at work here, or was killed: repeat in a minute"):
            install(steps, tmp_path / "chart")
        monkeypatch.setattr(stack, "PENDING_SECONDS", -1)
        stack.forget_unfinished_release(steps)
        install(steps, tmp_path / "chart")


def test_a_namespace_is_made_with_its_labels(steps: Steps) -> None:
    with steps.step("Operator", "operator", "?"):
        stack.ensure_namespace(steps, "labelled")
        found = steps.run("kubectl", "get", "namespaces", "-o", "name", "-l", f"{stack.OURS},{RESTRICTED}")
    assert "namespace/labelled" in found.split()
