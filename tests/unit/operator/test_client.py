"""How the operator finds the API server."""

from __future__ import annotations

import pytest

from appstack_operator.client import address_in_cluster


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
