"""Fixtures of the cluster tests: one cluster, one operator from its chart, one full stack `shop` that they share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pykube
import pytest
from pytest_kind import KindCluster

from appstack_lab.kubeconfigs import write_private
from appstack_lab.up import clusters
from appstack_lab.up import stack as deploy
from appstack_lab.up.steps import Steps
from tests.cluster.kit.kube import Kube
from tests.cluster.kit.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "logs" / "cluster-tests"
SHOP_NAMESPACE, _ = deploy.TEST_NAMESPACES
HANG_LIMIT_SECONDS = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for a whole stack, and each has hang limits of its own inside this one."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(HANG_LIMIT_SECONDS))


@pytest.fixture(scope="session")
def cluster_kind(pytestconfig: pytest.Config) -> str:
    """`current`, or `lab` or `kind`: which of them --kind-bin is."""
    if pytestconfig.getoption("current_cluster"):
        return "current"
    return "lab" if Path(str(pytestconfig.getoption("kind_bin"))).name == "lab" else "kind"


@pytest.fixture(scope="session")
def images(cluster_kind: str, steps: Steps) -> dict[str, str]:
    """This tree's images, built where they are missing, and pushed where nodes can only pull; references by name."""
    if cluster_kind == "current":
        with steps.step("images", "images", "the registry takes no images from here"):
            return clusters.CurrentCluster().images(steps)
    builder = ["--builder", "docker"] if cluster_kind == "kind" else []
    lab = Path(sys.executable).parent / "lab"
    refs: dict[str, str] = json.loads(subprocess.check_output([str(lab), "build", "images", "-o", "json", *builder]))
    return refs


@pytest.fixture(scope="session")
def three_nodes(pytestconfig: pytest.Config, cluster_kind: str) -> None:
    """The cluster as `make up` makes it: pytest-kind alone would make one node, and not find its own left-overs.

    One that stays is seen to be fit for tests.
    """
    name = str(pytestconfig.getoption("cluster_name"))
    kubeconfig = pytestconfig.getoption("kubeconfig") or Path(".pytest-kind") / name / "kubeconfig"
    do = "fit" if cluster_kind == "current" else "cluster"
    words = ["--cluster", cluster_kind, "--name", name, "--kubeconfig", str(kubeconfig), do]
    subprocess.run([sys.executable, "-m", "appstack_lab.up", *words], check=True)


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, three_nodes: None, cluster_kind: str, tmp_path_factory: pytest.TempPathFactory
) -> KindCluster:
    """pytest-kind's cluster, or its view of the one that the current kubeconfig leads to."""
    if cluster_kind != "current":
        made: KindCluster = request.getfixturevalue("kind_cluster")
        return made
    kubectl = Path(shutil.which("kubectl", path=clusters.tools_path()) or "kubectl")
    # pykube reads one file, kubectl a list of them; and of all contexts only the current one is the tests' business.
    whole = subprocess.check_output([str(kubectl), "config", "view", "--raw", "--flatten", "--minify"], text=True)
    copy = tmp_path_factory.mktemp("access") / "kubeconfig"
    write_private(copy, whole)
    found = KindCluster("current", copy, kubectl_path=kubectl)
    found.api = pykube.HTTPClient(pykube.KubeConfig.from_file(copy))
    return found


@pytest.fixture(scope="session")
def kube(cluster: KindCluster, cluster_kind: str, images: dict[str, str]) -> Kube:
    """The cluster with the images loaded, or pullable."""
    for ref in images.values() if cluster_kind != "current" else ():
        cluster.load_docker_image(ref)
    return Kube(cluster)


@pytest.fixture(scope="session")
def steps(cluster: KindCluster) -> Steps:
    """Runs what `make up` runs, against the test cluster."""
    env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig_path.resolve()), "PATH": clusters.tools_path()}
    return Steps(total=0, log_dir=LOGS, env=env)


@pytest.fixture(scope="session")
def operator(
    kube: Kube, steps: Steps, images: dict[str, str], cluster_kind: str, pytestconfig: pytest.Config
) -> Iterator[None]:
    """The operator, installed from its chart as `make up` does, and taken off again from a cluster that stays."""
    with steps.step("operator", "operator", "see the log"):
        deploy.install_operator(steps, images)
    yield
    if cluster_kind == "current" and not pytestconfig.getoption("keep_cluster"):
        with steps.step("removal", "removal", "an object is stuck in deletion; look at its finalizers"):
            deploy.remove(steps, SHOP_NAMESPACE)


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
