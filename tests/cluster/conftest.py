"""Fixtures of the cluster tests: one cluster, one operator from its chart, one full stack `shop` that they share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from appstack_lab.up import stack as deploy
from appstack_lab.up.steps import Steps
from tests.cluster.kit.kube import Kube
from tests.cluster.kit.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_kind import KindCluster

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "logs" / "cluster-tests"
SHOP_NAMESPACE = "shop"
HANG_LIMIT_SECONDS = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for a whole stack, and each has hang limits of its own inside this one."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(HANG_LIMIT_SECONDS))


@pytest.fixture(scope="session")
def cluster_kind(pytestconfig: pytest.Config) -> str:
    """`lab` or `kind`: which of them --kind-bin is."""
    return "lab" if Path(str(pytestconfig.getoption("kind_bin"))).name == "lab" else "kind"


@pytest.fixture(scope="session")
def images(cluster_kind: str) -> dict[str, str]:
    """This tree's images, built where they are missing; references by name."""
    builder = ["--builder", "docker"] if cluster_kind == "kind" else []
    lab = Path(sys.executable).parent / "lab"
    refs: dict[str, str] = json.loads(subprocess.check_output([str(lab), "build", "images", "-o", "json", *builder]))
    return refs


@pytest.fixture(scope="session")
def three_nodes(pytestconfig: pytest.Config, cluster_kind: str) -> None:
    """The cluster as `make up` makes it: pytest-kind alone would make one node, and not find its own left-overs."""
    name = str(pytestconfig.getoption("cluster_name"))
    kubeconfig = pytestconfig.getoption("kubeconfig") or Path(".pytest-kind") / name / "kubeconfig"
    words = ["--cluster", cluster_kind, "--name", name, "--kubeconfig", str(kubeconfig), "cluster"]
    subprocess.run([sys.executable, "-m", "appstack_lab.up", *words], check=True)


@pytest.fixture(scope="session")
def kube(three_nodes: None, kind_cluster: KindCluster, images: dict[str, str]) -> Kube:
    """The cluster with the images loaded."""
    for ref in images.values():
        kind_cluster.load_docker_image(ref)
    return Kube(kind_cluster)


@pytest.fixture(scope="session")
def steps(kube: Kube) -> Steps:
    """Runs what `make up` runs, against the test cluster."""
    tools = str(Path(kube.kubectl_path).resolve().parent)
    return Steps(total=0, log_dir=LOGS, env={**kube.env, "PATH": f"{tools}:{os.environ['PATH']}"})


@pytest.fixture(scope="session")
def operator(kube: Kube, steps: Steps, images: dict[str, str]) -> None:
    """The operator, installed from its chart as `make up` does."""
    with steps.step("operator", "operator", "see the log"):
        deploy.install_operator(steps, images)


@pytest.fixture(scope="session")
def shop(kube: Kube, operator: None, steps: Steps) -> Stack:
    """`examples/minimal.yaml`, applied, Ready and at rest."""
    with steps.step("stack", "stack", "see the conditions"):
        deploy.apply_example(steps, SHOP_NAMESPACE)
    made = Stack(kube, SHOP_NAMESPACE)
    made.wait_until_settled()  # on a cluster that was kept, the new operator may still restart pods
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed cluster test prints what a person would ask for first."""
    report = yield
    funcargs = getattr(item, "funcargs", {})
    kube = funcargs.get("kube") or getattr(funcargs.get("shop"), "kube", None)
    if report.failed and isinstance(kube, Kube):
        report.sections.append(("the cluster", kube.describe_failure(SHOP_NAMESPACE)))
    return report
