"""The short set shares the cluster and the stack `shop` of the cluster tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chaos.site import Site
from tests.cluster.conftest import (
    HANG_LIMIT_SECONDS,
    cluster,
    cluster_kind,
    images,
    kube,
    operator,
    shop,
    steps,
    three_nodes,
)

if TYPE_CHECKING:
    from tests.cluster.kit.stack import Stack

__all__ = ["cluster", "cluster_kind", "images", "kube", "operator", "shop", "steps", "three_nodes"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each has hang limits of its own inside this one."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(HANG_LIMIT_SECONDS))


@pytest.fixture(scope="session")
def site(shop: Stack, pytestconfig: pytest.Config) -> Site:
    """The stack, for the harness."""
    return Site.at(str(pytestconfig.getoption("cluster_name")), shop.kube.kubeconfig, shop.namespace)
