"""How the operator finds the API server, and when it does not write to it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from appstack_operator.client import Api, ApiError, address_in_cluster
from appstack_operator.kinds import STACK, Ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE = Ref("Service", "shop", "shop-api")


class Recorder:
    """Answers every request with an empty object, and remembers it."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        return web.json_response({})

    def api(self, *, may_write: bool) -> Api:
        return Api(client.ApiClient(client.Configuration(host=self.url)), lambda: may_write, write_seconds=4.5)


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", recorder.answer)
    async with TestServer(app) as running:
        recorder.url = str(running.make_url("")).rstrip("/")
        yield recorder


async def test_without_the_lease_reads_go_on_and_no_write_is_sent(server: Recorder) -> None:
    api = server.api(may_write=False)
    await api.get(SERVICE)
    for write in (api.delete(SERVICE), api.patch(SERVICE, {})):
        with pytest.raises(ApiError) as refused:
            await write
        assert refused.value.is_passing
    await api.close()
    assert [each.method for each in server.requests] == ["GET"]


async def test_the_server_is_told_when_a_write_is_no_longer_wanted(server: Recorder) -> None:
    api = server.api(may_write=True)
    await api.patch(SERVICE, {})
    await api.close()
    assert server.requests[0].query["timeout"] == "4500ms"


@pytest.mark.parametrize("name", ["shop#", "shop?x", "../../kube-system/secrets/x", "shop/status"])
async def test_a_name_is_a_name_whatever_is_in_it(server: Recorder, name: str) -> None:
    """Behind a # no dryRun=All would be sent: a manifest of somebody else's may bear any name."""
    api = server.api(may_write=False)
    path = STACK.path("shop", name)
    await api.dry_run("PATCH", path, STACK, {})
    await api.get(Ref("Secret", name, name))
    await api.close()
    patch, get = server.requests
    assert patch.query["dryRun"] == "All"
    assert patch.raw_path.partition("?")[0] == f"{STACK.path('shop')}/{quote(name, safe='')}"
    assert get.raw_path == f"/api/v1/namespaces/{quote(name, safe='')}/secrets/{quote(name, safe='')}"


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"},
            "https://10.96.0.1:443",
            id="by address, never by name",
        ),
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"},
            "https://[fd00::1]:6443",
            id="IPv6 in brackets",
        ),
        pytest.param({}, None, id="outside a cluster"),
    ],
)
def test_the_api_server_is_reached_by_address(environment: dict[str, str], address: str | None) -> None:
    assert address_in_cluster(environment) == address
