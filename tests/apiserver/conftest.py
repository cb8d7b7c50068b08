"""Fixtures of the tests on a bare API server: no nodes, no controllers, no root."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from kubernetes.aio import client, config

from appstack_operator.client import Api
from tests.apiserver.kit.external import external_services
from tests.apiserver.kit.life import MANAGED_SPEC, Life, World, living
from tests.apiserver.kit.operator import zygote
from tests.apiserver.kit.phases import Phase, undisturbed_phases
from tests.apiserver.kit.plugin import write_kubeconfig
from tests.apiserver.kit.responders import Responders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.apiserver.kit.server import BareCluster


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("apiserver")


@pytest.fixture(scope="session")
def cluster(bare_cluster: BareCluster) -> BareCluster:
    return bare_cluster


@pytest.fixture(scope="session")
async def world(cluster: BareCluster, folder: Path) -> AsyncIterator[World]:
    responders = Responders()
    with zygote() as forker:
        async with responders.answering(), external_services(cluster.loopback):
            yield World(cluster, responders, forker, folder)


@pytest.fixture(scope="session")
async def api(world: World) -> AsyncIterator[Api]:
    """The way of passes in this process to the API server."""
    kubeconfig = write_kubeconfig(world.cluster, world.folder / "admin.kubeconfig")
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    api = Api(client.ApiClient(configuration), read_seconds=30, write_seconds=30)
    yield api
    await api.close()


@pytest.fixture(scope="session")
async def reference(world: World) -> dict[str, Phase]:
    """How each phase ends where nothing disturbs it."""
    return await undisturbed_phases(world)


@pytest.fixture
async def life(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Life]:
    """A namespace of this test's own; its stack is still to be created."""
    namespace = request.node.name.removeprefix("test_").replace("_", "-").replace("[", "-").rstrip("]")
    namespace = f"{namespace[:20].strip('-')}-{crc32(namespace.encode()):x}"
    async with living(world, namespace, MANAGED_SPEC) as life:
        yield life
