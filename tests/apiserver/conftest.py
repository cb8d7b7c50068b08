"""Fixtures of the tests on a bare API server: no nodes, no controllers, no root."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.kit import server
from tests.apiserver.kit.cast import patroni
from tests.apiserver.kit.external import external_services
from tests.apiserver.kit.life import Life, living
from tests.apiserver.kit.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("apiserver")


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Iterator[server.BareCluster]:
    with server.running(folder / "cluster") as cluster:
        yield cluster
    shutil.rmtree(folder / "cluster" / "etcd", ignore_errors=True)


@pytest.fixture(scope="session")
async def proxy(cluster: server.BareCluster) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(f"https://{cluster.api}", cluster.client_context())
    async with patroni(cluster.loopback), external_services(cluster.loopback), proxy.serving():
        yield proxy


@pytest.fixture
async def life(
    cluster: server.BareCluster, proxy: FaultProxy, folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Life]:
    """A namespace of this test's own; its stack is still to be created."""
    namespace = request.node.name.replace("_", "-").replace("[", "-").rstrip("]")[-60:].strip("-")
    async with living(cluster, proxy, namespace, folder) as life:
        yield life
